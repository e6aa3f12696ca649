// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"polylog/conformance/kafka/lines"

	"github.com/IBM/sarama"
)

// member of a group. The client makes a session for each generation, and hands it over with what it claims.
type member struct {
	client  sarama.Client
	inner   sarama.ConsumerGroup
	queue   *lines.Queue
	cancel  context.CancelFunc
	done    chan struct{}
	mutex   sync.Mutex
	session sarama.ConsumerGroupSession
	changes int
	// The last thing that went wrong in the background.
	failure error
}

func (p *program) join(asked *lines.Request) (*member, error) {
	config := settings()
	strategies := map[string]sarama.BalanceStrategy{
		"range": sarama.NewBalanceStrategyRange(), "roundrobin": sarama.NewBalanceStrategyRoundRobin(),
		"sticky": sarama.NewBalanceStrategySticky(), "cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky(),
	}
	if asked.Assignor != "" {
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[asked.Assignor]}
	}
	config.Consumer.Group.InstanceId = asked.Instance
	config.Consumer.Group.Session.Timeout = time.Duration(asked.SessionMs) * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = lines.Heartbeat
	config.Consumer.Group.Rebalance.Retry.Max = 100
	config.Consumer.Group.Rebalance.Retry.Backoff = 200 * time.Millisecond
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Return.Errors = true
	client, err := sarama.NewClient([]string{p.address}, config)
	if err != nil {
		return nil, err
	}
	inner, err := sarama.NewConsumerGroupFromClient(asked.Group, client)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{client: client, inner: inner, queue: lines.NewQueue(), cancel: cancel, done: make(chan struct{})}
	go func() {
		for err := range inner.Errors() {
			m.mutex.Lock()
			m.failure = err
			m.mutex.Unlock()
		}
	}()
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			if err := inner.Consume(ctx, asked.Topics, m); errors.Is(err, sarama.ErrClosedConsumerGroup) {
				return
			}
		}
	}()
	return m, nil
}

// Setup begins a generation.
func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.session = session
	m.changes++
	return nil
}

// Cleanup ends a generation.
func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.session = nil
	return nil
}

// ConsumeClaim reads one partition while it belongs to this member.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case one, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.queue.Put(nil, told(one))
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) current() sarama.ConsumerGroupSession {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.session
}

func (m *member) Assigned() ([]lines.Place, int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	places := []lines.Place{}
	if m.session != nil {
		for topic, partitions := range m.session.Claims() {
			for _, partition := range partitions {
				places = append(places, lines.Place{Topic: topic, Partition: partition})
			}
		}
	}
	return places, m.changes
}

func (m *member) Commit(_ context.Context, offsets []lines.Place) error {
	session := m.current()
	if session == nil {
		return sarama.ErrRebalanceInProgress
	}
	m.mutex.Lock()
	m.failure = nil
	m.mutex.Unlock()
	for _, each := range offsets {
		session.MarkOffset(each.Topic, each.Partition, each.Offset, "")
	}
	session.Commit()
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.failure
}

func (m *member) Seek(lines.Place) error {
	return errors.New("a member of this client does not seek")
}

func (m *member) Pause(place lines.Place) error {
	m.inner.Pause(map[string][]int32{place.Topic: {place.Partition}})
	return nil
}

func (m *member) Resume(place lines.Place) error {
	m.inner.Resume(map[string][]int32{place.Topic: {place.Partition}})
	return nil
}

func (m *member) Leave() error {
	m.cancel()
	<-m.done
	err := m.inner.Close()
	m.client.Close()
	return err
}
