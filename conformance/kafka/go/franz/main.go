// SPDX-License-Identifier: Apache-2.0

// franz-go behind one JSON request a line (clients/line_program.py says what each means).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"polylog/conformance/kafka/lines"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type sender struct {
	inner    *kgo.Client
	outcomes lines.Outcomes
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
	member  *member
}

func main() {
	lines.Serve(&program{address: os.Args[1], senders: map[string]*sender{}, takers: map[string]*taker{}})
}

func (p *program) Code(err error) int {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return int(kafka.Code)
	}
	return -1
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

func (p *program) Answer(ctx context.Context, asked *lines.Request, told lines.Answer) error {
	switch asked.Do {
	case "version":
		told["version"] = lines.Version("github.com/twmb/franz-go")
	case "create_topic":
		admin, err := p.administrator()
		if err != nil {
			return err
		}
		_, err = admin.CreateTopic(ctx, asked.Partitions, 1, asked.Settings, asked.Topic)
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
		p.send(p.senders[asked.Producer], asked.Records)
	case "flush":
		told["outcomes"] = p.senders[asked.Producer].outcomes.Flush(asked.Deadline())
	case "close_producer":
		p.senders[asked.Producer].inner.Close()
		delete(p.senders, asked.Producer)
	case "open_reader":
		return p.openReader(ctx, asked)
	case "take":
		records, err := p.takers[asked.Reader].take(asked.Count, asked.Deadline())
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

// list asks for one offset: -2 earliest, -1 latest, -3 that of the largest time, else the first at or after a time (-1: none).
func (p *program) list(ctx context.Context, asked *lines.Request, when int64) (int64, error) {
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
func (p *program) offsetAt(ctx context.Context, asked *lines.Request, timestampMs int64) (int64, error) {
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

func (p *program) openProducer(asked *lines.Request) error {
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

func (p *program) send(s *sender, records []lines.Record) {
	for _, each := range records {
		one := &kgo.Record{Topic: each.Topic, Partition: each.Partition, Key: each.Key, Value: each.Value}
		for _, h := range each.Headers {
			one.Headers = append(one.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
		}
		if each.TimestampMs != nil {
			one.Timestamp = time.UnixMilli(*each.TimestampMs)
		}
		place := s.outcomes.Expect()
		s.inner.Produce(context.Background(), one, func(done *kgo.Record, err error) {
			outcome := lines.Answer{"offset": done.Offset}
			if err != nil {
				outcome = lines.Refused(p, err)
			}
			s.outcomes.Settle(place, outcome)
		})
	}
}

func (p *program) openReader(ctx context.Context, asked *lines.Request) error {
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

func (t *taker) take(count int, deadline time.Duration) ([]lines.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	records := []lines.Record{}
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

func told(one *kgo.Record) lines.Record {
	timestampMs := one.Timestamp.UnixMilli()
	headers := []lines.Header{}
	for _, h := range one.Headers {
		headers = append(headers, lines.Header{Name: h.Key, Value: h.Value})
	}
	return lines.Record{
		Topic: one.Topic, Partition: one.Partition, Key: one.Key, Value: one.Value, Headers: headers, TimestampMs: &timestampMs,
		Offset: one.Offset,
	}
}
