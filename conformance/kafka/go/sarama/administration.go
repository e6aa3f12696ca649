// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"polylog/conformance/kafka/lines"

	"github.com/IBM/sarama"
)

// administrate does what an administrator is asked for; false when that was something else.
func (p *program) administrate(asked *lines.Request, told lines.Answer) (bool, error) {
	client, err := p.client()
	if err != nil {
		return true, err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return true, err
	}
	kind := sarama.TopicResource
	if asked.Kind == "broker" {
		kind = sarama.BrokerResource
	}
	switch asked.Do {
	case "create_topic":
		detail := &sarama.TopicDetail{NumPartitions: asked.Partitions, ReplicationFactor: 1, ConfigEntries: asked.Settings}
		err = admin.CreateTopic(asked.Topic, detail, false)
		var refused *sarama.TopicError
		if errors.As(err, &refused) {
			err = refused.Err
		}
	case "delete_topic":
		err = admin.DeleteTopic(asked.Topic)
	case "topics":
		var listed map[string]sarama.TopicDetail
		listed, err = admin.ListTopics()
		names := []string{}
		for name := range listed {
			names = append(names, name)
		}
		told["topics"] = names
	case "describe_configs":
		var entries []sarama.ConfigEntry
		entries, err = admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: asked.Name})
		configs := map[string][]any{}
		for _, entry := range entries {
			configs[entry.Name] = []any{entry.Value, int8(entry.Source)}
		}
		told["configs"] = configs
	case "alter_configs":
		changes := map[string]sarama.IncrementalAlterConfigsEntry{}
		for name, value := range asked.Settings {
			operation := sarama.IncrementalAlterConfigsOperationSet
			if value == nil {
				operation = sarama.IncrementalAlterConfigsOperationDelete
			}
			changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: operation, Value: value}
		}
		err = admin.IncrementalAlterConfig(kind, asked.Name, changes, false)
	case "create_partitions":
		err = admin.CreatePartitions(asked.Topic, int32(asked.Count), nil, false)
		var refused *sarama.TopicPartitionError
		if errors.As(err, &refused) {
			err = refused.Err
		}
	case "delete_records":
		// It does not tell what is left; that is looked for.
		if err = admin.DeleteRecords(asked.Topic, map[int32]int64{asked.Partition: asked.Before}); err == nil {
			told["low"], err = p.list(asked, sarama.OffsetOldest)
		}
	case "groups":
		var listed map[string]string
		listed, err = admin.ListConsumerGroups()
		names := []string{}
		for name := range listed {
			names = append(names, name)
		}
		told["groups"] = names
	case "describe_group":
		var described []*sarama.GroupDescription
		if described, err = admin.DescribeConsumerGroups([]string{asked.Group}); err == nil {
			one := described[0]
			told["state"], told["members"] = strings.ToLower(one.State), len(one.Members)
			if one.Err != sarama.ErrNoError {
				err = one.Err
			}
		}
	case "delete_group":
		err = admin.DeleteConsumerGroup(asked.Group)
	case "group_offsets":
		var answer *sarama.OffsetFetchResponse
		if answer, err = admin.ListConsumerGroupOffsets(asked.Group, nil); err == nil {
			offsets := [][]any{}
			for topic, partitions := range answer.Blocks {
				for partition, block := range partitions {
					offsets = append(offsets, []any{topic, partition, block.Offset})
				}
			}
			told["offsets"] = offsets
			if answer.Err != sarama.ErrNoError {
				err = answer.Err
			}
		}
	case "set_group_offset":
		wanted := map[string]map[int32]sarama.OffsetAndMetadata{
			asked.Topic: {asked.Partition: {Offset: asked.Offset, LeaderEpoch: -1}},
		}
		_, err = admin.AlterConsumerGroupOffsets(asked.Group, wanted, nil)
	case "describe_cluster":
		err = describeCluster(client, admin, told)
	default:
		return false, nil
	}
	return true, err
}

func describeCluster(client sarama.Client, admin sarama.ClusterAdmin, told lines.Answer) error {
	_, controller, err := admin.DescribeCluster()
	if err != nil {
		return err
	}
	// Its administrator leaves the cluster's id out.
	broker, err := client.Controller()
	if err != nil {
		return err
	}
	answer, err := broker.GetMetadata(sarama.NewMetadataRequest(settings().Version, nil))
	if err != nil {
		return err
	}
	brokers := [][]any{}
	for _, each := range answer.Brokers {
		host, port, err := split(each.Addr())
		if err != nil {
			return err
		}
		brokers = append(brokers, []any{each.ID(), host, port})
	}
	told["cluster"], told["controller"], told["brokers"] = *answer.ClusterID, controller, brokers
	return nil
}

func split(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(text)
	return host, port, err
}
