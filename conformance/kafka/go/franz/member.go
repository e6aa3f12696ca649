// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"polylog/conformance/kafka/lines"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member of a group. The client adds and takes away partitions one by one, so what it has is kept here.
type member struct {
	inner   *kgo.Client
	queue   *lines.Queue
	cancel  context.CancelFunc
	mutex   sync.Mutex
	places  map[lines.Place]bool
	changes int
}

func (p *program) join(asked *lines.Request) (*member, error) {
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{queue: lines.NewQueue(), cancel: cancel, places: map[lines.Place]bool{}}
	balancers := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(asked.Group), kgo.ConsumeTopics(asked.Topics...), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(lines.Heartbeat),
		kgo.SessionTimeout(time.Duration(asked.SessionMs) * time.Millisecond),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.gone), kgo.OnPartitionsLost(m.gone),
	}
	if asked.Assignor != "" {
		options = append(options, kgo.Balancers(balancers[asked.Assignor]))
	}
	if asked.Instance != "" {
		options = append(options, kgo.InstanceID(asked.Instance))
	}
	inner, err := p.client(options...)
	if err != nil {
		cancel()
		return nil, err
	}
	m.inner = inner
	go m.poll(ctx)
	return m, nil
}

func (m *member) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := m.inner.PollFetches(ctx)
		records := []lines.Record{}
		fetches.EachRecord(func(one *kgo.Record) { records = append(records, told(one)) })
		m.queue.Put(nil, records...)
	}
}

func (m *member) assigned(_ context.Context, _ *kgo.Client, some map[string][]int32) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.changes++
	for topic, partitions := range some {
		for _, partition := range partitions {
			m.places[lines.Place{Topic: topic, Partition: partition}] = true
		}
	}
}

func (m *member) gone(_ context.Context, _ *kgo.Client, some map[string][]int32) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for topic, partitions := range some {
		for _, partition := range partitions {
			delete(m.places, lines.Place{Topic: topic, Partition: partition})
		}
	}
}

func (m *member) Assigned() ([]lines.Place, int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	places := []lines.Place{}
	for place := range m.places {
		places = append(places, place)
	}
	return places, m.changes
}

func (m *member) Commit(ctx context.Context, offsets []lines.Place) error {
	wanted := map[string]map[int32]kgo.EpochOffset{}
	for _, each := range offsets {
		if wanted[each.Topic] == nil {
			wanted[each.Topic] = map[int32]kgo.EpochOffset{}
		}
		wanted[each.Topic][each.Partition] = kgo.EpochOffset{Epoch: -1, Offset: each.Offset}
	}
	var failed error
	m.inner.CommitOffsetsSync(ctx, wanted, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err != nil {
			return
		}
		for _, topic := range answer.Topics {
			for _, partition := range topic.Partitions {
				if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
					failed = err
				}
			}
		}
	})
	return failed
}

func (m *member) Seek(place lines.Place) error {
	m.inner.SetOffsets(map[string]map[int32]kgo.EpochOffset{place.Topic: {place.Partition: {Epoch: -1, Offset: place.Offset}}})
	return nil
}

func (m *member) Pause(place lines.Place) error {
	m.inner.PauseFetchPartitions(map[string][]int32{place.Topic: {place.Partition}})
	return nil
}

func (m *member) Resume(place lines.Place) error {
	m.inner.ResumeFetchPartitions(map[string][]int32{place.Topic: {place.Partition}})
	return nil
}

func (m *member) Leave() error {
	m.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), lines.CallMax)
	defer cancel()
	if err := m.inner.LeaveGroupContext(ctx); err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	m.inner.Close()
	return nil
}
