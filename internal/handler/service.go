package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/time/rate"

	"credbus/internal/audit"
	"credbus/internal/build"
	"credbus/subjects"
)

// version is the version that service discovery shows for the worker.
const version = "0.1.0"

const serviceName = "credbus"

// counters count requests that are refused before a command sees them.
type counters struct {
	malformed      atomic.Int64 // bodies and subjects that could not be decoded
	refusedReplies atomic.Int64 // requests whose reply subject is under no inbox prefix
	noReply        atomic.Int64 // requests without a reply subject
	exhausted      atomic.Int64 // requests refused because the pool was full
	limited        atomic.Int64 // requests and items refused because a scope had reached its limit
	clear          atomic.Int64 // requests in clear, counted while wire.clear is warn

	warn          rate.Sometimes // about refused replies
	warnFull      rate.Sometimes // about scopes at their limit
	warnedOfClear atomic.Int64   // when the log last said that requests are not sealed, in Unix nanoseconds
}

// service answers the discovery verbs of NATS services (ADR-32), so that
// `nats service ls`, `info` and `stats` show the worker. It does not use the framework
// itself, which runs only one request of an endpoint at a time.
type service struct {
	identity micro.ServiceIdentity
	started  time.Time
}

type endpointStats struct {
	requests, errors, nanoseconds atomic.Int64
	lastError                     atomic.Pointer[subjects.Code]
}

func newService(name, host, wireKey string) *service {
	return &service{
		identity: micro.ServiceIdentity{Name: serviceName, ID: name, Version: version, Metadata: map[string]string{"host": host, "fips140": build.FIPS(), "wire_key": wireKey}},
		started:  time.Now().UTC(),
	}
}

// Served is how many requests were answered, except those about jobs.
func (h *Handler) Served() (n int64) {
	for _, e := range h.endpoints {
		if !e.ofJobs {
			n += e.stats.requests.Load()
		}
	}
	return n
}

// count records the answer to a request of a command. Hits count themselves. told is what
// the caller learns of err; both are nil for a reply.
func (h *Handler) count(c *call, err error, told *subjects.Error) {
	stats := &c.endpoint.stats
	stats.requests.Add(1)
	stats.nanoseconds.Add(int64(time.Since(c.begun)))
	if told == nil {
		return
	}
	stats.errors.Add(1)
	stats.lastError.Store(&told.Code)
	if _, ok := errors.AsType[malformed](err); ok {
		h.counts.malformed.Add(1)
	} else if err == errFull { // this very error: a store may be exhausted as well
		h.counts.exhausted.Add(1)
	}
}

func (h *Handler) startService() error {
	for verb, answer := range map[string]func() any{
		"PING":  h.ping,
		"INFO":  h.info,
		"STATS": h.stats,
	} {
		for _, subject := range []string{
			"$SRV." + verb,
			"$SRV." + verb + "." + serviceName,
			"$SRV." + verb + "." + serviceName + "." + h.config.Name,
		} {
			if err := h.subscriptions.Subscribe(subject, "", h.discovery(answer)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Handler) discovery(answer func() any) nats.MsgHandler {
	return func(msg *nats.Msg) {
		if !h.accept(msg) {
			return
		}
		body, err := json.Marshal(answer())
		if err == nil {
			err = h.config.Conn.Publish(msg.Reply, body)
		}
		if err != nil {
			h.config.Logger.Warn("reply could not be sent", "command", msg.Subject, "error", err)
		}
	}
}

func (h *Handler) ping() any {
	return micro.Ping{ServiceIdentity: h.service.identity, Type: micro.PingResponseType}
}

func (h *Handler) info() any {
	info := micro.Info{
		ServiceIdentity: h.service.identity,
		Type:            micro.InfoResponseType,
		Description:     "credential manager",
	}
	for _, command := range subjects.Commands {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{
			Name:       string(command),
			Subject:    h.endpointSubject(command),
			QueueGroup: h.config.Queue,
		})
	}
	return info
}

func (h *Handler) endpointSubject(command subjects.Command) string {
	return h.config.Prefix.Command(command, subjects.Root) + ".>"
}

// serviceData is what the worker reports besides the fields of the format: the counters
// of requests that never reached an endpoint, and the states of its stores.
type serviceData struct {
	Malformed      int64         `json:"malformed"`
	RefusedReplies int64         `json:"refused_replies"`
	NoReply        int64         `json:"no_reply"`
	Exhausted      int64         `json:"exhausted"`
	Limited        int64         `json:"limited"`
	Stores         []storeData   `json:"stores,omitempty"`
	Audit          []audit.Stats `json:"audit,omitempty"`
}

// storeData is a subjects.StoreState in JSON.
type storeData struct {
	Name    string        `json:"name"`
	Type    string        `json:"type"`
	State   string        `json:"state"`
	Since   time.Time     `json:"since"`
	Error   subjects.Code `json:"error,omitempty"`
	Refuses string        `json:"refuses,omitempty"`
}

func (h *Handler) stats() any {
	stats := micro.Stats{
		ServiceIdentity: h.service.identity,
		Type:            micro.StatsResponseType,
		Started:         h.service.started,
	}
	// The data belong to the whole worker. Every endpoint shows them, since the format
	// has no place for the data of a whole service.
	own := serviceData{
		Malformed:      h.counts.malformed.Load(),
		RefusedReplies: h.counts.refusedReplies.Load(),
		NoReply:        h.counts.noReply.Load(),
		Exhausted:      h.counts.exhausted.Load(),
		Limited:        h.counts.limited.Load(),
		Audit:          h.config.Audit.Stats(),
	}
	for _, s := range h.config.Stats().Stores {
		own.Stores = append(own.Stores, storeData(s))
	}
	data, _ := json.Marshal(own)
	for _, command := range subjects.Commands {
		counted := &h.endpoints[command].stats
		endpoint := &micro.EndpointStats{
			Name:           string(command),
			Subject:        h.endpointSubject(command),
			QueueGroup:     h.config.Queue,
			NumRequests:    int(counted.requests.Load()),
			NumErrors:      int(counted.errors.Load()),
			ProcessingTime: time.Duration(counted.nanoseconds.Load()),
			Data:           data,
		}
		if code := counted.lastError.Load(); code != nil {
			endpoint.LastError = fmt.Sprintf("%d:%s", code.Number(), *code)
		}
		if endpoint.NumRequests > 0 {
			endpoint.AverageProcessingTime = endpoint.ProcessingTime / time.Duration(endpoint.NumRequests)
		}
		stats.Endpoints = append(stats.Endpoints, endpoint)
	}
	return stats
}
