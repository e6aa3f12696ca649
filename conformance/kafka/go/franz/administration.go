// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"strings"

	"polylog/conformance/kafka/lines"

	"github.com/twmb/franz-go/pkg/kadm"
)

// administrate does what an administrator is asked for; false when that was something else.
func (p *program) administrate(ctx context.Context, asked *lines.Request, told lines.Answer) (bool, error) {
	admin, err := p.administrator()
	if err != nil {
		return true, err
	}
	switch asked.Do {
	case "describe_configs":
		told["configs"], err = describeConfigs(ctx, admin, asked)
	case "alter_configs":
		err = alterConfigs(ctx, admin, asked)
	case "create_partitions":
		var answer kadm.CreatePartitionsResponses
		if answer, err = admin.UpdatePartitions(ctx, int(asked.Count), asked.Topic); err == nil {
			err = answer.Error()
		}
	case "delete_records":
		var offsets kadm.Offsets
		offsets.AddOffset(asked.Topic, asked.Partition, asked.Before, -1)
		var answer kadm.DeleteRecordsResponses
		if answer, err = admin.DeleteRecords(ctx, offsets); err == nil {
			one, _ := answer.Lookup(asked.Topic, asked.Partition)
			told["low"], err = one.LowWatermark, one.Err
		}
	case "groups":
		var answer kadm.ListedGroups
		answer, err = admin.ListGroups(ctx)
		told["groups"] = answer.Groups()
	case "describe_group":
		var answer kadm.DescribedGroups
		if answer, err = admin.DescribeGroups(ctx, asked.Group); err == nil {
			one := answer[asked.Group]
			told["state"], told["members"], err = strings.ToLower(one.State), len(one.Members), one.Err
		}
	case "delete_group":
		_, err = admin.DeleteGroup(ctx, asked.Group)
	case "group_offsets":
		var answer kadm.OffsetResponses
		answer, err = admin.FetchOffsets(ctx, asked.Group)
		offsets := [][]any{}
		answer.Each(func(one kadm.OffsetResponse) { offsets = append(offsets, []any{one.Topic, one.Partition, one.At}) })
		told["offsets"] = offsets
	case "set_group_offset":
		var offsets kadm.Offsets
		offsets.AddOffset(asked.Topic, asked.Partition, asked.Offset, -1)
		err = admin.CommitAllOffsets(ctx, asked.Group, offsets)
	case "describe_cluster":
		var answer kadm.Metadata
		answer, err = admin.BrokerMetadata(ctx)
		brokers := [][]any{}
		for _, broker := range answer.Brokers {
			brokers = append(brokers, []any{broker.NodeID, broker.Host, broker.Port})
		}
		told["cluster"], told["controller"], told["brokers"] = answer.Cluster, answer.Controller, brokers
	default:
		return false, nil
	}
	return true, err
}

func describeConfigs(ctx context.Context, admin *kadm.Client, asked *lines.Request) (map[string][]any, error) {
	var answer kadm.ResourceConfigs
	var err error
	if asked.Kind == "topic" {
		answer, err = admin.DescribeTopicConfigs(ctx, asked.Name)
	} else {
		var number int
		if number, err = strconv.Atoi(asked.Name); err == nil {
			answer, err = admin.DescribeBrokerConfigs(ctx, int32(number))
		}
	}
	if err != nil {
		return nil, err
	}
	configs := map[string][]any{}
	for _, one := range answer {
		if one.Err != nil {
			return nil, one.Err
		}
		for _, config := range one.Configs {
			configs[config.Key] = []any{config.Value, int8(config.Source)}
		}
	}
	return configs, nil
}

func alterConfigs(ctx context.Context, admin *kadm.Client, asked *lines.Request) error {
	changes := []kadm.AlterConfig{}
	for name, value := range asked.Settings {
		change := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value}
		if value == nil {
			change.Op = kadm.DeleteConfig
		}
		changes = append(changes, change)
	}
	var answer kadm.AlterConfigsResponses
	var err error
	if asked.Kind == "topic" {
		answer, err = admin.AlterTopicConfigs(ctx, changes, asked.Name)
	} else {
		var number int
		if number, err = strconv.Atoi(asked.Name); err == nil {
			answer, err = admin.AlterBrokerConfigs(ctx, changes, int32(number))
		}
	}
	if err != nil {
		return err
	}
	for _, one := range answer {
		if one.Err != nil {
			return one.Err
		}
	}
	return nil
}
