// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"polylog/conformance/kafka/lines"

	"github.com/segmentio/kafka-go"
)

// member of a group: a reader for each partition of the generation that it is in.
type member struct {
	address    string
	inner      *kafka.ConsumerGroup
	queue      *lines.Queue
	done       chan struct{}
	mutex      sync.Mutex
	generation *kafka.Generation
	readers    map[lines.Place]*kafka.Reader
	changes    int
}

func (p *program) join(asked *lines.Request) (*member, error) {
	balancers := map[string][]kafka.GroupBalancer{
		"range": {kafka.RangeGroupBalancer{}}, "roundrobin": {kafka.RoundRobinGroupBalancer{}},
	}
	inner, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: asked.Group, Brokers: []string{p.address}, Topics: asked.Topics, GroupBalancers: balancers[asked.Assignor],
		HeartbeatInterval: lines.Heartbeat, SessionTimeout: time.Duration(asked.SessionMs) * time.Millisecond,
		JoinGroupBackoff: lines.Heartbeat, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return nil, err
	}
	m := &member{address: p.address, inner: inner, queue: lines.NewQueue(), done: make(chan struct{})}
	go m.run()
	return m, nil
}

func (m *member) run() {
	defer close(m.done)
	for {
		generation, err := m.inner.Next(context.Background())
		if errors.Is(err, kafka.ErrGroupClosed) {
			return
		}
		if err == nil {
			m.begin(generation)
		}
	}
}

func (m *member) begin(generation *kafka.Generation) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.generation = generation
	m.readers = map[lines.Place]*kafka.Reader{}
	m.changes++
	for topic, partitions := range generation.Assignments {
		for _, partition := range partitions {
			reader := kafka.NewReader(kafka.ReaderConfig{
				Brokers: []string{m.address}, Topic: topic, Partition: partition.ID, MinBytes: 1, MaxBytes: 4 << 20,
				MaxWait: lines.Heartbeat,
			})
			reader.SetOffset(partition.Offset)
			m.readers[lines.Place{Topic: topic, Partition: int32(partition.ID)}] = reader
			generation.Start(func(ctx context.Context) { listen(ctx, reader, m.queue) })
		}
	}
	generation.Start(func(ctx context.Context) {
		<-ctx.Done()
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.generation, m.readers = nil, nil
	})
}

func (m *member) Assigned() ([]lines.Place, int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	places := []lines.Place{}
	for place := range m.readers {
		places = append(places, place)
	}
	return places, m.changes
}

func (m *member) Commit(_ context.Context, offsets []lines.Place) error {
	m.mutex.Lock()
	generation := m.generation
	m.mutex.Unlock()
	if generation == nil {
		return kafka.RebalanceInProgress
	}
	wanted := map[string]map[int]int64{}
	for _, each := range offsets {
		if wanted[each.Topic] == nil {
			wanted[each.Topic] = map[int]int64{}
		}
		wanted[each.Topic][int(each.Partition)] = each.Offset
	}
	return generation.CommitOffsets(wanted)
}

func (m *member) Seek(place lines.Place) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	reader := m.readers[lines.Place{Topic: place.Topic, Partition: place.Partition}]
	if reader == nil {
		return errors.New("the partition is another member's")
	}
	return reader.SetOffset(place.Offset)
}

func (m *member) Pause(lines.Place) error {
	return errors.New("a member of this client pauses nothing")
}

func (m *member) Resume(lines.Place) error {
	return errors.New("a member of this client pauses nothing")
}

func (m *member) Leave() error {
	err := m.inner.Close()
	<-m.done
	return err
}
