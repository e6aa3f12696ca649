// SPDX-License-Identifier: Apache-2.0

// Sarama behind one JSON request a line (clients/line_program.py says what each means).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"polylog/conformance/kafka/lines"

	"github.com/IBM/sarama"
)

type sender struct {
	inner    sarama.AsyncProducer
	client   sarama.Client
	outcomes lines.Outcomes
	done     chan struct{}
}

type taker struct {
	inner  sarama.Consumer
	stream sarama.PartitionConsumer
	queue  *lines.Queue
}

type program struct {
	address string
	kept    sarama.Client
	senders map[string]*sender
	takers  map[string]*taker
	member  *member
}

func main() {
	lines.Serve(&program{address: os.Args[1], senders: map[string]*sender{}, takers: map[string]*taker{}})
}

func (p *program) Code(err error) int {
	var kafka sarama.KError
	if errors.As(err, &kafka) {
		return int(kafka)
	}
	return -1
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V4_0_0_0
	// A broker that is away for a moment is waited for.
	config.Metadata.Retry.Max = 240
	return config
}

func (p *program) client() (sarama.Client, error) {
	if p.kept == nil {
		inner, err := sarama.NewClient([]string{p.address}, settings())
		if err != nil {
			return nil, err
		}
		p.kept = inner
	}
	return p.kept, nil
}

func (p *program) Answer(_ context.Context, asked *lines.Request, told lines.Answer) error {
	switch asked.Do {
	case "version":
		told["version"] = lines.Version("github.com/IBM/sarama")
	case "open_producer":
		return p.openProducer(asked)
	case "send":
		p.senders[asked.Producer].send(asked.Records)
	case "flush":
		told["outcomes"] = p.senders[asked.Producer].outcomes.Flush(asked.Deadline())
	case "close_producer":
		p.senders[asked.Producer].close()
		delete(p.senders, asked.Producer)
	case "open_reader":
		return p.openReader(asked)
	case "take":
		records, err := p.takers[asked.Reader].queue.Take(asked.Count, asked.Count, asked.Deadline())
		told["records"] = records
		return err
	case "close_reader":
		p.takers[asked.Reader].stream.AsyncClose()
		delete(p.takers, asked.Reader)
	case "offsets":
		earliest, err := p.list(asked, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		latest, err := p.list(asked, sarama.OffsetNewest)
		told["earliest"], told["latest"] = earliest, latest
		return err
	case "offset_at":
		offset, err := p.list(asked, asked.TimestampMs)
		if told["offset"] = offset; offset < 0 {
			told["offset"] = nil
		}
		return err
	case "max_timestamp_offset":
		offset, err := p.list(asked, -3)
		told["offset"] = offset
		return err
	case "join":
		member, err := p.join(asked)
		p.member = member
		return err
	default:
		if known, err := p.administrate(asked, told); known {
			return err
		}
		if p.member == nil {
			return fmt.Errorf("cannot do %q", asked.Do)
		}
		_, err := lines.AnswerMember(context.Background(), p.member, p.member.queue, asked, told)
		return err
	}
	return nil
}

// list asks for one offset: the ends, or the first at or after a time (-1: none).
func (p *program) list(asked *lines.Request, when int64) (int64, error) {
	client, err := p.client()
	if err != nil {
		return 0, err
	}
	// What it was told of the topic before may be of another with the same name.
	if err := client.RefreshMetadata(asked.Topic); err != nil {
		return 0, err
	}
	return client.GetOffset(asked.Topic, asked.Partition, when)
}

func (p *program) openProducer(asked *lines.Request) error {
	config := settings()
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
	config.Producer.Compression = codecs[asked.Compression]
	config.Producer.Idempotent = asked.Idempotent
	config.Producer.RequiredAcks = sarama.RequiredAcks(asked.Acks)
	config.Producer.MaxMessageBytes = int(asked.RecordBytesMax)
	config.Producer.Flush.Frequency = time.Duration(asked.LingerMs) * time.Millisecond
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	if asked.Idempotent {
		// It asks for both, and its order through a restart depends on how often it may try.
		config.Net.MaxOpenRequests = 1
		config.Producer.Retry.Max = 300
	}
	client, err := sarama.NewClient([]string{p.address}, config)
	if err != nil {
		return err
	}
	inner, err := sarama.NewAsyncProducerFromClient(client)
	if err != nil {
		return err
	}
	s := &sender{inner: inner, client: client, done: make(chan struct{})}
	p.senders[asked.Producer] = s
	go s.listen(p)
	return nil
}

func (s *sender) listen(p *program) {
	successes, failures := s.inner.Successes(), s.inner.Errors()
	for successes != nil || failures != nil {
		select {
		case done, open := <-successes:
			if !open {
				successes = nil
				continue
			}
			s.outcomes.Settle(done.Metadata.(int), lines.Answer{"offset": done.Offset})
		case failed, open := <-failures:
			if !open {
				failures = nil
				continue
			}
			s.outcomes.Settle(failed.Msg.Metadata.(int), lines.Refused(p, failed.Err))
		}
	}
	close(s.done)
}

func encoder(piece []byte) sarama.Encoder {
	if piece == nil {
		return nil
	}
	return sarama.ByteEncoder(piece)
}

func (s *sender) send(records []lines.Record) {
	for _, each := range records {
		one := &sarama.ProducerMessage{
			Topic: each.Topic, Partition: each.Partition, Key: encoder(each.Key), Value: encoder(each.Value),
			Metadata: s.outcomes.Expect(),
		}
		for _, h := range each.Headers {
			one.Headers = append(one.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: h.Value})
		}
		if each.TimestampMs != nil {
			one.Timestamp = time.UnixMilli(*each.TimestampMs)
		}
		s.inner.Input() <- one
	}
}

func (s *sender) close() {
	s.inner.AsyncClose()
	select {
	case <-s.done:
	case <-time.After(lines.CallMax):
	}
	s.client.Close()
}

func (p *program) openReader(asked *lines.Request) error {
	config := settings()
	config.Consumer.MaxWaitTime = time.Duration(asked.WaitMs) * time.Millisecond
	config.Consumer.Fetch.Default = 4 << 20
	config.Consumer.Return.Errors = true
	config.Net.ReadTimeout = max(30*time.Second, config.Consumer.MaxWaitTime+10*time.Second)
	if asked.Isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	offset := asked.Number
	var err error
	switch asked.At {
	case "earliest":
		offset = sarama.OffsetOldest
	case "latest":
		offset = sarama.OffsetNewest
	case "time":
		if offset, err = p.list(asked, asked.Number); offset < 0 {
			offset = sarama.OffsetNewest
		}
	}
	if err != nil {
		return err
	}
	inner, err := sarama.NewConsumer([]string{p.address}, config)
	if err != nil {
		return err
	}
	t := &taker{inner: inner, queue: lines.NewQueue()}
	p.takers[asked.Reader] = t
	stream, err := inner.ConsumePartition(asked.Topic, asked.Partition, offset)
	if err != nil {
		return err
	}
	t.stream = stream
	go t.listen()
	return nil
}

func (t *taker) listen() {
	go func() {
		for failed := range t.stream.Errors() {
			t.queue.Put(failed.Err)
		}
	}()
	for one := range t.stream.Messages() {
		t.queue.Put(nil, told(one))
	}
	t.inner.Close()
}

func told(one *sarama.ConsumerMessage) lines.Record {
	timestampMs := one.Timestamp.UnixMilli()
	headers := []lines.Header{}
	for _, h := range one.Headers {
		headers = append(headers, lines.Header{Name: string(h.Key), Value: h.Value})
	}
	return lines.Record{
		Topic: one.Topic, Partition: one.Partition, Key: one.Key, Value: one.Value, Headers: headers, TimestampMs: &timestampMs,
		Offset: one.Offset,
	}
}
