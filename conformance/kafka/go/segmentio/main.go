// SPDX-License-Identifier: Apache-2.0

// Segment's kafka-go behind one JSON request a line (clients/line_program.py says what each means).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"polylog/conformance/kafka/lines"

	"github.com/segmentio/kafka-go"
)

type sender struct {
	inner    *kafka.Writer
	program  *program
	outcomes lines.Outcomes
}

// mark goes along with a message: which outcome is its own, and where it goes.
type mark struct {
	place     int
	partition int
}

type taker struct {
	inner  *kafka.Reader
	queue  *lines.Queue
	cancel context.CancelFunc
}

type program struct {
	address string
	client  *kafka.Client
	senders map[string]*sender
	takers  map[string]*taker
	member  *member
}

func main() {
	address := os.Args[1]
	// It keeps what it knows of topics for six seconds; here they come and go. It also waits no longer for an answer than that.
	transport := &kafka.Transport{MetadataTTL: 2 * time.Second}
	client := &kafka.Client{Addr: kafka.TCP(address), Timeout: lines.CallMax, Transport: transport}
	lines.Serve(&program{address: address, client: client, senders: map[string]*sender{}, takers: map[string]*taker{}})
}

func (p *program) Code(err error) int {
	var refused kafka.Error
	if errors.As(err, &refused) {
		return int(refused)
	}
	return -1
}

func (p *program) Answer(ctx context.Context, asked *lines.Request, told lines.Answer) error {
	switch asked.Do {
	case "version":
		told["version"] = lines.Version("github.com/segmentio/kafka-go")
	case "open_producer":
		p.openProducer(asked)
	case "send":
		return p.senders[asked.Producer].send(ctx, asked.Records)
	case "flush":
		told["outcomes"] = p.senders[asked.Producer].outcomes.Flush(asked.Deadline())
	case "close_producer":
		err := p.senders[asked.Producer].inner.Close()
		delete(p.senders, asked.Producer)
		return err
	case "open_reader":
		return p.openReader(ctx, asked)
	case "take":
		records, err := p.takers[asked.Reader].queue.Take(asked.Count, asked.Count, asked.Deadline())
		told["records"] = records
		return err
	case "close_reader":
		p.takers[asked.Reader].cancel()
		delete(p.takers, asked.Reader)
	case "offsets":
		earliest, err := p.list(ctx, asked, kafka.FirstOffset)
		if err != nil {
			return err
		}
		latest, err := p.list(ctx, asked, kafka.LastOffset)
		told["earliest"], told["latest"] = earliest, latest
		return err
	case "offset_at":
		offset, err := p.list(ctx, asked, asked.TimestampMs)
		if told["offset"] = offset; offset < 0 {
			told["offset"] = nil
		}
		return err
	case "join":
		member, err := p.join(asked)
		p.member = member
		return err
	default:
		if known, err := p.administrate(ctx, asked, told); known {
			return err
		}
		if p.member == nil {
			return fmt.Errorf("cannot do %q", asked.Do)
		}
		_, err := lines.AnswerMember(ctx, p.member, p.member.queue, asked, told)
		return err
	}
	return nil
}

// list asks for one offset: the ends, or the first at or after a time (-1: none).
func (p *program) list(ctx context.Context, asked *lines.Request, when int64) (int64, error) {
	wanted := []kafka.OffsetRequest{{Partition: int(asked.Partition), Timestamp: when}}
	answer, err := p.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{asked.Topic: wanted}})
	if err != nil {
		return 0, err
	}
	for _, one := range answer.Topics[asked.Topic] {
		if one.Error != nil {
			return 0, one.Error
		}
		switch when {
		case kafka.FirstOffset:
			return one.FirstOffset, nil
		case kafka.LastOffset:
			return one.LastOffset, nil
		}
		for offset := range one.Offsets {
			return offset, nil
		}
	}
	return -1, nil
}

func (p *program) openProducer(asked *lines.Request) {
	codecs := map[string]kafka.Compression{
		"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
	}
	s := &sender{program: p}
	s.inner = &kafka.Writer{
		// With a transport of its own, it knows nothing of before.
		Addr: p.client.Addr, Transport: &kafka.Transport{}, Compression: codecs[asked.Compression], Async: true,
		RequiredAcks: kafka.RequiredAcks(asked.Acks), BatchBytes: int64(asked.RecordBytesMax), BatchSize: 1000,
		BatchTimeout: max(time.Millisecond, time.Duration(asked.LingerMs)*time.Millisecond), AllowAutoTopicCreation: true,
		Balancer: kafka.BalancerFunc(func(one kafka.Message, _ ...int) int { return one.WriterData.(mark).partition }),
		Completion: func(messages []kafka.Message, err error) {
			for _, one := range messages {
				outcome := lines.Answer{"offset": one.Offset}
				if err != nil {
					outcome = lines.Refused(p, err)
				} else if asked.Acks == 0 {
					outcome = lines.Answer{}
				}
				s.outcomes.Settle(one.WriterData.(mark).place, outcome)
			}
		},
	}
	p.senders[asked.Producer] = s
}

func (s *sender) send(ctx context.Context, records []lines.Record) error {
	messages := []kafka.Message{}
	for _, each := range records {
		mine := mark{s.outcomes.Expect(), int(each.Partition)}
		one := kafka.Message{Topic: each.Topic, Key: each.Key, Value: each.Value, WriterData: mine}
		for _, h := range each.Headers {
			one.Headers = append(one.Headers, kafka.Header{Key: h.Name, Value: h.Value})
		}
		if each.TimestampMs != nil {
			one.Time = time.UnixMilli(*each.TimestampMs)
		}
		messages = append(messages, one)
	}
	for {
		err := s.inner.WriteMessages(ctx, messages...)
		// A topic that is only being made is the application's to wait for: its own example does so.
		if errors.Is(err, kafka.UnknownTopicOrPartition) || errors.Is(err, kafka.LeaderNotAvailable) {
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
			}
		}
		if err != nil {
			for _, one := range messages {
				s.outcomes.Settle(one.WriterData.(mark).place, lines.Refused(s.program, err))
			}
		}
		return nil
	}
}

func (p *program) openReader(ctx context.Context, asked *lines.Request) error {
	offset := asked.Number
	var err error
	switch asked.At {
	case "earliest":
		offset = kafka.FirstOffset
	case "latest":
		offset, err = p.list(ctx, asked, kafka.LastOffset)
	case "time":
		if offset, err = p.list(ctx, asked, asked.Number); err == nil && offset < 0 {
			offset, err = p.list(ctx, asked, kafka.LastOffset)
		}
	}
	if err != nil {
		return err
	}
	isolation := kafka.ReadUncommitted
	if asked.Isolation == "read_committed" {
		isolation = kafka.ReadCommitted
	}
	inner := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{p.address}, Topic: asked.Topic, Partition: int(asked.Partition), MinBytes: 1, MaxBytes: 4 << 20,
		MaxWait: time.Duration(asked.WaitMs) * time.Millisecond, IsolationLevel: isolation, OffsetOutOfRangeError: true,
	})
	if err := inner.SetOffset(offset); err != nil {
		return err
	}
	listening, cancel := context.WithCancel(context.Background())
	t := &taker{inner: inner, queue: lines.NewQueue(), cancel: cancel}
	p.takers[asked.Reader] = t
	go listen(listening, inner, t.queue)
	return nil
}

// listen puts what a reader reads into a queue, until it may no longer.
func listen(ctx context.Context, reader *kafka.Reader, queue *lines.Queue) {
	defer reader.Close()
	for {
		one, err := reader.ReadMessage(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			queue.Put(err)
			return
		}
		queue.Put(nil, told(one))
	}
}

func told(one kafka.Message) lines.Record {
	timestampMs := one.Time.UnixMilli()
	headers := []lines.Header{}
	for _, h := range one.Headers {
		// Empty or null: it does not tell.
		headers = append(headers, lines.Header{Name: h.Key, Value: append([]byte{}, h.Value...)})
	}
	return lines.Record{
		Topic: one.Topic, Partition: int32(one.Partition), Key: one.Key, Value: one.Value, Headers: headers,
		TimestampMs: &timestampMs, Offset: one.Offset,
	}
}
