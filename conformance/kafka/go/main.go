// SPDX-License-Identifier: Apache-2.0

// franz-go behind one JSON request a line (clients/line_program.py says what each means).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const callMax = 30 * time.Second

type header struct {
	name  string
	value []byte
}

func (h header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.name, h.value}) }

func (h *header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.name, &h.value})
}

type record struct {
	Topic       string   `json:"topic,omitempty"`
	Partition   int32    `json:"partition"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []header `json:"headers"`
	TimestampMs *int64   `json:"timestamp_ms"`
	Offset      int64    `json:"offset"`
}

type request struct {
	Do             string            `json:"do"`
	Topic          string            `json:"topic"`
	Partition      int32             `json:"partition"`
	Partitions     int32             `json:"partitions"`
	Settings       map[string]string `json:"settings"`
	Producer       string            `json:"producer"`
	Compression    string            `json:"compression"`
	Idempotent     bool              `json:"idempotent"`
	Acks           int               `json:"acks"`
	LingerMs       int               `json:"linger_ms"`
	RecordBytesMax int32             `json:"record_bytes_max"`
	Records        []record          `json:"records"`
	DeadlineMs     int64             `json:"deadline_ms"`
	Reader         string            `json:"reader"`
	At             string            `json:"at"`
	Number         int64             `json:"number"`
	WaitMs         int               `json:"wait_ms"`
	Isolation      string            `json:"isolation"`
	Count          int               `json:"count"`
	TimestampMs    int64             `json:"timestamp_ms"`
}

type answer map[string]any

// sender keeps outcomes in the order of the sends.
type sender struct {
	inner    *kgo.Client
	waiting  sync.WaitGroup
	mutex    sync.Mutex
	outcomes []answer
}

type taker struct {
	inner *kgo.Client
	left  []*kgo.Record
}

type program struct {
	address string
	admin   *kadm.Client
	senders map[string]*sender
	takers  map[string]*taker
}

func main() {
	p := &program{address: os.Args[1], senders: map[string]*sender{}, takers: map[string]*taker{}}
	requests := bufio.NewReaderSize(os.Stdin, 1<<20)
	answers := bufio.NewWriter(os.Stdout)
	for {
		line, err := requests.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		var asked request
		if err == nil {
			err = json.Unmarshal(line, &asked)
		}
		told := answer{}
		if err == nil {
			err = p.answer(&asked, told)
		}
		if err != nil {
			told = refused(err)
		}
		text, err := json.Marshal(told)
		if err != nil {
			panic(err)
		}
		answers.Write(append(text, '\n'))
		answers.Flush()
	}
}

func refused(err error) answer {
	code := int16(-1)
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		code = kafka.Code
	}
	return answer{"code": code, "error": err.Error()}
}

func (p *program) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(p.address)}, options...)...)
}

func (p *program) administrator() (*kadm.Client, error) {
	if p.admin == nil {
		inner, err := p.client()
		if err != nil {
			return nil, err
		}
		p.admin = kadm.NewClient(inner)
	}
	return p.admin, nil
}

func (p *program) answer(asked *request, told answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), callMax)
	defer cancel()
	switch asked.Do {
	case "version":
		told["version"] = version()
	case "create_topic":
		admin, err := p.administrator()
		if err != nil {
			return err
		}
		settings := map[string]*string{}
		for name, value := range asked.Settings {
			settings[name] = &value
		}
		_, err = admin.CreateTopic(ctx, asked.Partitions, 1, settings, asked.Topic)
		return err
	case "delete_topic":
		admin, err := p.administrator()
		if err != nil {
			return err
		}
		_, err = admin.DeleteTopic(ctx, asked.Topic)
		return err
	case "topics":
		// Asked of the broker each time: kadm would answer from what it was told a moment ago.
		inner, err := p.client()
		if err != nil {
			return err
		}
		defer inner.Close()
		listed, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, inner)
		if err != nil {
			return err
		}
		names := []string{}
		for _, topic := range listed.Topics {
			names = append(names, *topic.Topic)
		}
		told["topics"] = names
	case "open_producer":
		return p.openProducer(asked)
	case "send":
		p.senders[asked.Producer].send(asked.Records)
	case "flush":
		told["outcomes"] = p.senders[asked.Producer].flush(time.Duration(asked.DeadlineMs) * time.Millisecond)
	case "close_producer":
		p.senders[asked.Producer].inner.Close()
		delete(p.senders, asked.Producer)
	case "open_reader":
		return p.openReader(ctx, asked)
	case "take":
		records, err := p.takers[asked.Reader].take(asked.Count, time.Duration(asked.DeadlineMs)*time.Millisecond)
		told["records"] = records
		return err
	case "close_reader":
		p.takers[asked.Reader].inner.Close()
		delete(p.takers, asked.Reader)
	case "offsets":
		earliest, err := p.list(ctx, asked, -2)
		if err != nil {
			return err
		}
		latest, err := p.list(ctx, asked, -1)
		told["earliest"], told["latest"] = earliest, latest
		return err
	case "offset_at":
		offset, err := p.offsetAt(ctx, asked, asked.TimestampMs)
		if offset >= 0 {
			told["offset"] = offset
		} else {
			told["offset"] = nil
		}
		return err
	case "max_timestamp_offset":
		offset, err := p.list(ctx, asked, -3)
		told["offset"] = offset
		return err
	default:
		return fmt.Errorf("cannot do %q", asked.Do)
	}
	return nil
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			return module.Version
		}
	}
	return "unknown"
}

// list asks for one offset: -2 earliest, -1 latest, -3 that of the largest time, else the first at or after a time (-1: none).
func (p *program) list(ctx context.Context, asked *request, when int64) (int64, error) {
	admin, err := p.administrator()
	if err != nil {
		return 0, err
	}
	var listed kadm.ListedOffsets
	switch when {
	case -2:
		listed, err = admin.ListStartOffsets(ctx, asked.Topic)
	case -3:
		listed, err = admin.ListMaxTimestampOffsets(ctx, asked.Topic)
	case -1:
		listed, err = admin.ListEndOffsets(ctx, asked.Topic)
	default:
		listed, err = admin.ListOffsetsAfterMilli(ctx, when, asked.Topic)
	}
	if err != nil {
		return 0, err
	}
	offset, found := listed.Lookup(asked.Topic, asked.Partition)
	if !found {
		return 0, kerr.UnknownTopicOrPartition
	}
	return offset.Offset, offset.Err
}

// offsetAt tells -1 where kadm tells the end: no record is that late.
func (p *program) offsetAt(ctx context.Context, asked *request, timestampMs int64) (int64, error) {
	offset, err := p.list(ctx, asked, timestampMs)
	if err != nil {
		return 0, err
	}
	end, err := p.list(ctx, asked, -1)
	if offset == end {
		return -1, err
	}
	return offset, err
}

func (p *program) openProducer(asked *request) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[int]kgo.Acks{-1: kgo.AllISRAcks(), 0: kgo.NoAck(), 1: kgo.LeaderAck()}
	options := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codecs[asked.Compression]),
		kgo.RequiredAcks(acks[asked.Acks]), kgo.ProducerLinger(time.Duration(asked.LingerMs) * time.Millisecond),
		kgo.ProducerBatchMaxBytes(asked.RecordBytesMax), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(20),
	}
	if !asked.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	inner, err := p.client(options...)
	if err == nil {
		p.senders[asked.Producer] = &sender{inner: inner}
	}
	return err
}

func (s *sender) send(records []record) {
	for _, each := range records {
		one := &kgo.Record{Topic: each.Topic, Partition: each.Partition, Key: each.Key, Value: each.Value}
		for _, h := range each.Headers {
			one.Headers = append(one.Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
		}
		if each.TimestampMs != nil {
			one.Timestamp = time.UnixMilli(*each.TimestampMs)
		}
		s.mutex.Lock()
		place := len(s.outcomes)
		s.outcomes = append(s.outcomes, nil)
		s.mutex.Unlock()
		s.waiting.Add(1)
		s.inner.Produce(context.Background(), one, func(done *kgo.Record, err error) {
			outcome := answer{"offset": done.Offset}
			if err != nil {
				outcome = refused(err)
			}
			s.mutex.Lock()
			s.outcomes[place] = outcome
			s.mutex.Unlock()
			s.waiting.Done()
		})
	}
}

func (s *sender) flush(deadline time.Duration) []answer {
	done := make(chan struct{})
	go func() { s.waiting.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(deadline):
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	outcomes := make([]answer, 0, len(s.outcomes))
	for _, outcome := range s.outcomes {
		if outcome == nil {
			outcome = answer{"code": -1, "error": "not settled at the deadline"}
		}
		outcomes = append(outcomes, outcome)
	}
	s.outcomes = nil
	return outcomes
}

func (p *program) openReader(ctx context.Context, asked *request) error {
	var offset kgo.Offset
	switch asked.At {
	case "earliest":
		offset = kgo.NewOffset().AtStart()
	case "offset":
		offset = kgo.NewOffset().At(asked.Number)
	case "latest":
		end, err := p.list(ctx, asked, -1)
		if err != nil {
			return err
		}
		offset = kgo.NewOffset().At(end)
	case "time":
		offset = kgo.NewOffset().AfterMilli(asked.Number)
	}
	isolation := kgo.ReadUncommitted()
	if asked.Isolation == "read_committed" {
		isolation = kgo.ReadCommitted()
	}
	inner, err := p.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{asked.Topic: {asked.Partition: offset}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(time.Duration(asked.WaitMs)*time.Millisecond),
		kgo.FetchMaxPartitionBytes(4<<20), kgo.FetchIsolationLevel(isolation),
	)
	if err == nil {
		p.takers[asked.Reader] = &taker{inner: inner}
	}
	return err
}

func (t *taker) take(count int, deadline time.Duration) ([]record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	records := []record{}
	for {
		for len(t.left) > 0 && len(records) < count {
			records = append(records, told(t.left[0]))
			t.left = t.left[1:]
		}
		if len(records) >= count || ctx.Err() != nil {
			return records, nil
		}
		fetches := t.inner.PollFetches(ctx)
		for _, failed := range fetches.Errors() {
			if ctx.Err() == nil {
				return records, failed.Err
			}
		}
		t.left = append(t.left, fetches.Records()...)
	}
}

func told(one *kgo.Record) record {
	timestampMs := one.Timestamp.UnixMilli()
	headers := []header{}
	for _, h := range one.Headers {
		headers = append(headers, header{h.Key, h.Value})
	}
	return record{Key: one.Key, Value: one.Value, Headers: headers, TimestampMs: &timestampMs, Offset: one.Offset}
}
