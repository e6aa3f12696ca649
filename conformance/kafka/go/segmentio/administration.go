// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"polylog/conformance/kafka/lines"

	"github.com/segmentio/kafka-go"
)

// administrate does what an administrator is asked for; false when that was something else.
func (p *program) administrate(ctx context.Context, asked *lines.Request, told lines.Answer) (bool, error) {
	var err error
	switch asked.Do {
	case "create_topic":
		topic := kafka.TopicConfig{Topic: asked.Topic, NumPartitions: int(asked.Partitions), ReplicationFactor: 1}
		for name, value := range asked.Settings {
			topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: *value})
		}
		var answer *kafka.CreateTopicsResponse
		if answer, err = p.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}}); err == nil {
			err = answer.Errors[asked.Topic]
		}
	case "delete_topic":
		var answer *kafka.DeleteTopicsResponse
		if answer, err = p.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{asked.Topic}}); err == nil {
			err = answer.Errors[asked.Topic]
		}
	case "topics":
		names := []string{}
		var answer *kafka.MetadataResponse
		if answer, err = p.fresh().Metadata(ctx, &kafka.MetadataRequest{}); err == nil {
			for _, topic := range answer.Topics {
				names = append(names, topic.Name)
			}
		}
		told["topics"] = names
	case "describe_configs":
		told["configs"], err = p.describeConfigs(ctx, asked)
	case "alter_configs":
		err = p.alterConfigs(ctx, asked)
	case "create_partitions":
		wanted := []kafka.TopicPartitionsConfig{{Name: asked.Topic, Count: int32(asked.Count)}}
		var answer *kafka.CreatePartitionsResponse
		if answer, err = p.client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: wanted}); err == nil {
			err = answer.Errors[asked.Topic]
		}
	case "groups":
		names := []string{}
		var answer *kafka.ListGroupsResponse
		if answer, err = p.client.ListGroups(ctx, &kafka.ListGroupsRequest{}); err == nil {
			err = answer.Error
			for _, group := range answer.Groups {
				names = append(names, group.GroupID)
			}
		}
		told["groups"] = names
	case "describe_group":
		var answer *kafka.DescribeGroupsResponse
		if answer, err = p.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{asked.Group}}); err == nil {
			one := answer.Groups[0]
			told["state"], told["members"], err = strings.ToLower(one.GroupState), len(one.Members), one.Error
		}
	case "delete_group":
		var answer *kafka.DeleteGroupsResponse
		if answer, err = p.client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{asked.Group}}); err == nil {
			err = answer.Errors[asked.Group]
		}
	case "group_offsets":
		offsets := [][]any{}
		var answer *kafka.OffsetFetchResponse
		if answer, err = p.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: asked.Group}); err == nil {
			err = answer.Error
			for topic, partitions := range answer.Topics {
				for _, one := range partitions {
					offsets = append(offsets, []any{topic, one.Partition, one.CommittedOffset})
				}
			}
		}
		told["offsets"] = offsets
	case "set_group_offset":
		wanted := map[string][]kafka.OffsetCommit{asked.Topic: {{Partition: int(asked.Partition), Offset: asked.Offset}}}
		ask := &kafka.OffsetCommitRequest{GroupID: asked.Group, GenerationID: -1, Topics: wanted}
		var answer *kafka.OffsetCommitResponse
		if answer, err = p.client.OffsetCommit(ctx, ask); err == nil {
			err = answer.Topics[asked.Topic][0].Error
		}
	case "describe_cluster":
		var answer *kafka.MetadataResponse
		if answer, err = p.client.Metadata(ctx, &kafka.MetadataRequest{}); err == nil {
			brokers := [][]any{}
			for _, broker := range answer.Brokers {
				brokers = append(brokers, []any{broker.ID, broker.Host, broker.Port})
			}
			told["cluster"], told["controller"], told["brokers"] = answer.ClusterID, answer.Controller.ID, brokers
		}
	default:
		return false, nil
	}
	return true, err
}

// fresh is a client that was told nothing yet: the other would answer from what it knows.
func (p *program) fresh() *kafka.Client {
	return &kafka.Client{Addr: p.client.Addr, Timeout: lines.CallMax, Transport: &kafka.Transport{}}
}

func resource(asked *lines.Request) kafka.ResourceType {
	if asked.Kind == "broker" {
		return kafka.ResourceTypeBroker
	}
	return kafka.ResourceTypeTopic
}

func (p *program) describeConfigs(ctx context.Context, asked *lines.Request) (map[string][]any, error) {
	wanted := []kafka.DescribeConfigRequestResource{{ResourceType: resource(asked), ResourceName: asked.Name}}
	answer, err := p.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: wanted})
	if err != nil {
		return nil, err
	}
	configs := map[string][]any{}
	for _, one := range answer.Resources {
		if one.Error != nil {
			return nil, one.Error
		}
		for _, entry := range one.ConfigEntries {
			configs[entry.ConfigName] = []any{entry.ConfigValue, entry.ConfigSource}
		}
	}
	return configs, nil
}

func (p *program) alterConfigs(ctx context.Context, asked *lines.Request) error {
	changes := []kafka.IncrementalAlterConfigsRequestConfig{}
	for name, value := range asked.Settings {
		change := kafka.IncrementalAlterConfigsRequestConfig{Name: name, ConfigOperation: kafka.ConfigOperationDelete}
		if value != nil {
			change.Value, change.ConfigOperation = *value, kafka.ConfigOperationSet
		}
		changes = append(changes, change)
	}
	wanted := []kafka.IncrementalAlterConfigsRequestResource{
		{ResourceType: resource(asked), ResourceName: asked.Name, Configs: changes},
	}
	answer, err := p.client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: wanted})
	if err != nil {
		return err
	}
	for _, one := range answer.Resources {
		if one.Error != nil {
			return one.Error
		}
	}
	return nil
}
