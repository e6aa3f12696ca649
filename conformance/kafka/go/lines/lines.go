// SPDX-License-Identifier: Apache-2.0

// Package lines is what the programs around Go's clients share: one JSON request a line, one JSON answer a line
// (clients/line_program.py says what each means). It knows no client.
package lines

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
)

// CallMax is how long a client may take for one request, but for those with a deadline of their own.
const CallMax = 30 * time.Second

// Heartbeat of a member: short, so that it hears soon that its group changes.
const Heartbeat = 500 * time.Millisecond

// Header of a record: a name that may come twice, and a value that may be null.
type Header struct {
	Name  string
	Value []byte
}

// MarshalJSON writes [name, value].
func (h Header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.Name, h.Value}) }

// UnmarshalJSON reads [name, value].
func (h *Header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.Name, &h.Value})
}

// Record as it travels; bytes are base64.
type Record struct {
	Topic       string   `json:"topic,omitempty"`
	Partition   int32    `json:"partition"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []Header `json:"headers"`
	TimestampMs *int64   `json:"timestamp_ms"`
	Offset      int64    `json:"offset"`
}

// Place is a partition of a topic, with an offset where one belongs to it.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// UnmarshalJSON reads [topic, partition, offset].
func (p *Place) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&p.Topic, &p.Partition, &p.Offset})
}

// Request holds the fields of all requests.
type Request struct {
	Do             string             `json:"do"`
	Topic          string             `json:"topic"`
	Partition      int32              `json:"partition"`
	Partitions     int32              `json:"partitions"`
	Settings       map[string]*string `json:"settings"`
	Producer       string             `json:"producer"`
	Compression    string             `json:"compression"`
	Idempotent     bool               `json:"idempotent"`
	Acks           int                `json:"acks"`
	LingerMs       int                `json:"linger_ms"`
	RecordBytesMax int32              `json:"record_bytes_max"`
	Records        []Record           `json:"records"`
	DeadlineMs     int64              `json:"deadline_ms"`
	Reader         string             `json:"reader"`
	At             string             `json:"at"`
	Number         int64              `json:"number"`
	WaitMs         int                `json:"wait_ms"`
	Isolation      string             `json:"isolation"`
	Count          int                `json:"count"`
	TimestampMs    int64              `json:"timestamp_ms"`
	Kind           string             `json:"kind"`
	Name           string             `json:"name"`
	Before         int64              `json:"before"`
	Offset         int64              `json:"offset"`
	Group          string             `json:"group"`
	Topics         []string           `json:"topics"`
	Assignor       string             `json:"assignor"`
	Instance       string             `json:"instance"`
	SessionMs      int                `json:"session_ms"`
	Offsets        []Place            `json:"offsets"`
}

// Deadline of a request that has one.
func (r *Request) Deadline() time.Duration { return time.Duration(r.DeadlineMs) * time.Millisecond }

// Answer to a request, or the outcome of a record.
type Answer map[string]any

// Program answers requests; Code finds the protocol's number in a client's error, -1 when there is none.
type Program interface {
	Answer(ctx context.Context, asked *Request, told Answer) error
	Code(err error) int
}

// Serve answers line after line until there are no more.
func Serve(program Program) {
	requests := bufio.NewReaderSize(os.Stdin, 1<<20)
	answers := bufio.NewWriter(os.Stdout)
	for {
		line, err := requests.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		var asked Request
		if err == nil {
			err = json.Unmarshal(line, &asked)
		}
		told := Answer{}
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), CallMax)
			err = program.Answer(ctx, &asked, told)
			cancel()
		}
		if err != nil {
			told = Refused(program, err)
		}
		text, err := json.Marshal(told)
		if err != nil {
			panic(err)
		}
		answers.Write(append(text, '\n'))
		answers.Flush()
	}
}

// Refused is the answer that tells an error.
func Refused(program Program, err error) Answer {
	return Answer{"code": program.Code(err), "error": err.Error()}
}

// Version of a module that this program was built with.
func Version(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == path {
			return module.Version
		}
	}
	return "unknown"
}

// Outcomes of the records of one producer, in the order in which they were sent.
type Outcomes struct {
	mutex   sync.Mutex
	waiting sync.WaitGroup
	list    []Answer
}

// Expect another one; the place that Settle wants.
func (o *Outcomes) Expect() int {
	o.waiting.Add(1)
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.list = append(o.list, nil)
	return len(o.list) - 1
}

// Settle one.
func (o *Outcomes) Settle(place int, outcome Answer) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.list[place] == nil {
		o.list[place] = outcome
		o.waiting.Done()
	}
}

// Flush waits for all of them, and forgets them.
func (o *Outcomes) Flush(deadline time.Duration) []Answer {
	done := make(chan struct{})
	go func() { o.waiting.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(deadline):
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	outcomes := make([]Answer, 0, len(o.list))
	for _, outcome := range o.list {
		if outcome == nil {
			outcome = Answer{"code": -1, "error": "not settled at the deadline"}
		}
		outcomes = append(outcomes, outcome)
	}
	o.list = nil
	return outcomes
}

// Queue holds what a member or a reader got until it is asked for.
type Queue struct {
	mutex   sync.Mutex
	records []Record
	err     error
	news    chan struct{}
}

// NewQueue makes an empty one.
func NewQueue() *Queue { return &Queue{news: make(chan struct{}, 1)} }

// Put something into it, or an error that whoever takes next is told.
func (q *Queue) Put(err error, records ...Record) {
	q.mutex.Lock()
	q.records = append(q.records, records...)
	if err != nil {
		q.err = err
	}
	q.mutex.Unlock()
	select {
	case q.news <- struct{}{}:
	default:
	}
}

func (q *Queue) cut(count int) ([]Record, error) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	some := q.records[:min(count, len(q.records))]
	q.records = q.records[len(some):]
	err := q.err
	if len(some) == 0 {
		q.err = nil
	} else {
		err = nil
	}
	return some, err
}

// Take waits until there are `least` records, and gives at most `most`; fewer at the deadline.
func (q *Queue) Take(least, most int, deadline time.Duration) ([]Record, error) {
	end := time.After(deadline)
	records := []Record{}
	for {
		some, err := q.cut(most - len(records))
		records = append(records, some...)
		if len(records) >= least || err != nil {
			return records, err
		}
		select {
		case <-q.news:
		case <-end:
			return records, nil
		}
	}
}

// Member of a group: one client's way to do what the lines ask for. What it reads goes into its queue.
type Member interface {
	// Assigned tells the partitions, and how many assignments there were.
	Assigned() ([]Place, int)
	Commit(ctx context.Context, offsets []Place) error
	Seek(place Place) error
	Pause(place Place) error
	Resume(place Place) error
	Leave() error
}

// AnswerMember does what is asked of a member; false when that was something else.
func AnswerMember(ctx context.Context, member Member, queue *Queue, asked *Request, told Answer) (bool, error) {
	place := Place{asked.Topic, asked.Partition, asked.Number}
	var err error
	switch asked.Do {
	case "member_take":
		var records []Record
		records, err = queue.Take(1, asked.Count, asked.Deadline())
		told["records"] = records
	case "assigned":
		places, changes := member.Assigned()
		partitions := [][]any{}
		for _, each := range places {
			partitions = append(partitions, []any{each.Topic, each.Partition})
		}
		told["partitions"], told["changes"] = partitions, changes
	case "commit":
		err = member.Commit(ctx, asked.Offsets)
	case "seek":
		err = member.Seek(place)
	case "pause":
		err = member.Pause(place)
	case "resume":
		err = member.Resume(place)
	case "leave":
		err = member.Leave()
	default:
		return false, fmt.Errorf("cannot do %q", asked.Do)
	}
	return true, err
}
