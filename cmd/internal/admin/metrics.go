package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsHandler serves what the status says as metrics. All is read when it is
// asked for. No label holds a client or a name that was asked; there are as many
// series as the configuration has upstream servers and categories, and some dozens.
func metricsHandler(b Backend) http.Handler {
	r := prometheus.NewRegistry() // of our own: nobody else can add to it
	r.MustRegister(&statusCollector{b}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

type statusCollector struct{ backend Backend }

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// A metric is one number, or one for each set of labels.
type metric struct {
	name   string
	help   string
	kind   prometheus.ValueType
	labels []string
	values func(s *Status, is func(v float64, labels ...string))
}

// desc describes it to the registry.
func (m *metric) desc() *prometheus.Desc {
	return prometheus.NewDesc("weir_"+m.name, m.help, m.labels, nil)
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for i := range metrics {
		out <- metrics[i].desc()
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	s := c.backend.Status()
	for i := range metrics {
		m := &metrics[i]
		desc := m.desc()
		m.values(&s, func(v float64, labels ...string) {
			for i := range labels {
				labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
			}
			out <- prometheus.MustNewConstMetric(desc, m.kind, v, labels...) // the numbers of labels agree, which a test holds
		})
	}
}

// one is a metric without labels.
func one(name, help string, kind prometheus.ValueType, value func(s *Status) float64) metric {
	return metric{name, help, kind, nil, func(s *Status, is func(float64, ...string)) { is(value(s)) }}
}

// count is a counter without labels.
func count(name, help string, value func(s *Status) uint64) metric {
	return one(name+"_total", help, counter, func(s *Status) float64 { return float64(value(s)) })
}

// ofServers is a metric of each upstream server.
func ofServers(name, help string, kind prometheus.ValueType, value func(u *Upstream, i int) float64) metric {
	return metric{"upstream_server_" + name, help, kind, []string{"upstream", "server"}, func(s *Status, is func(float64, ...string)) {
		for i := range s.Upstreams {
			u := &s.Upstreams[i]
			for j := range u.Servers {
				is(value(u, j), u.Name, u.Servers[j].Server)
			}
		}
	}}
}

// ofUpstreams is a metric of each upstream.
func ofUpstreams(name, help string, kind prometheus.ValueType, value func(u *Upstream) float64) metric {
	return metric{"upstream_" + name, help, kind, []string{"upstream"}, func(s *Status, is func(float64, ...string)) {
		for i := range s.Upstreams {
			is(value(&s.Upstreams[i]), s.Upstreams[i].Name)
		}
	}}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func epochSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

var metrics = []metric{
	{"info", "The version that runs.", gauge, []string{"version"}, func(s *Status, is func(float64, ...string)) { is(1, s.Version) }},
	one("start_time_seconds", "When the server was started.", gauge, func(s *Status) float64 { return epochSeconds(s.Started) }),
	one("revision", "Number of the revision in force.", gauge, func(s *Status) float64 { return float64(s.Revision) }),
	one("revision_time_seconds", "When it came into force.", gauge, func(s *Status) float64 { return epochSeconds(s.Loaded) }),

	one("names", "Distinct listed names.", gauge, func(s *Status) float64 { return float64(s.Names) }),
	one("names_bytes", "Memory that they take.", gauge, func(s *Status) float64 { return float64(s.NameMemory) }),
	one("names_mapped_bytes", "Of a mapped file, beside that.", gauge, func(s *Status) float64 { return float64(s.NameMapped) }),
	{"category_names", "Distinct names of each category.", gauge, []string{"category"}, func(s *Status, is func(float64, ...string)) {
		for _, c := range s.Categories {
			is(float64(c.Names), c.Name)
		}
	}},
	one("lists_attention", "Lists that are not what their origins have.", gauge, func(s *Status) float64 { return float64(len(s.Attention)) }),
	one("policies", "Policies in force.", gauge, func(s *Status) float64 { return float64(len(s.Policies)) }),
	one("policies_observing", "Policies that block nothing.", gauge, func(s *Status) float64 { return float64(len(s.Observing)) }),
	one("held_goroutines", "Goroutines.", gauge, func(s *Status) float64 { return float64(s.Process.Goroutines) }),
	one("held_heap_bytes", "Memory that the last collection found in use.", gauge, func(s *Status) float64 { return float64(s.Process.Heap) }),
	one("held_descriptors", "File descriptors that are open.", gauge, func(s *Status) float64 { return float64(s.Process.Descriptors) }),
	one("exceptions", "Exceptions in force.", gauge, func(s *Status) float64 { return float64(s.Exceptions) }),
	one("hosts", "Hosts known by lease or neighbour.", gauge, func(s *Status) float64 { return float64(s.Hosts) }),

	count("queries", "Queries dealt with, those without an answer too.", func(s *Status) uint64 { return s.Resolver.Answered }),
	{
		"answers_total", "Queries by verdict and by where the answer came from, recorded until the last commit interval.", counter,
		[]string{"verdict", "source"},
		func(s *Status, is func(float64, ...string)) {
			for _, c := range s.Sources {
				verdict := "allow"
				if c.Blocked {
					verdict = "block"
				}
				is(float64(c.Queries), verdict, c.Source)
			}
		},
	},
	count("packets_received", "Packets that reached the parser: each is a record, is lost or is excluded.", func(s *Status) uint64 { return s.Resolver.Received }),
	count("packets_ignored", "Packets that were no queries.", func(s *Status) uint64 { return s.Resolver.Ignored }),
	count("overload", "Queries turned away for want of room.", func(s *Status) uint64 { return s.Resolver.Overload }),
	count("panics", "Queries or replies that met a mistake of the program.", func(s *Status) uint64 { return s.Resolver.Panics }),
	count("replies_unsent", "Replies that the network did not take.", func(s *Status) uint64 { return s.Resolver.Unsent }),
	count("queries_limited", "Queries beyond their client's rate.", func(s *Status) uint64 { return s.Resolver.Limited }),
	count("answers_alike", "Answers beyond the limit of those alike.", func(s *Status) uint64 { return s.Resolver.Alike }),
	count("answers_amplified", "Answers cut because they were too much for addresses that may be forged.", func(s *Status) uint64 { return s.Resolver.Amplified }),
	count("answers_late", "Answers that came too late to be sent.", func(s *Status) uint64 { return s.Resolver.Late }),
	one("questions_inflight", "Questions that wait for upstreams.", gauge, func(s *Status) float64 { return float64(s.Resolver.Inflight) }),
	one("tcp_connections", "Client connections that are open.", gauge, func(s *Status) float64 { return float64(s.Resolver.TCP) }),
	count("tcp_evicted", "Idle connections closed for others.", func(s *Status) uint64 { return s.Resolver.Evicted }),
	count("tcp_outsiders", "Connections of those who may not ask.", func(s *Status) uint64 { return s.Resolver.Outsider }),

	one("cache_entries", "Answers in memory.", gauge, func(s *Status) float64 { return float64(s.Resolver.Cache.Entries) }),
	one("cache_bytes", "Memory that they take.", gauge, func(s *Status) float64 { return float64(s.Resolver.Cache.Bytes) }),
	count("cache_hits", "Lookups that found an answer.", func(s *Status) uint64 { return s.Resolver.Cache.Hits }),
	count("cache_misses", "Lookups that found none.", func(s *Status) uint64 { return s.Resolver.Cache.Misses }),
	count("cache_evicted", "Answers that made room for others.", func(s *Status) uint64 { return s.Resolver.Cache.Evicted }),
	count("cache_stale", "Answers that had expired.", func(s *Status) uint64 { return s.Resolver.Stale }),
	count("cache_prefetch", "Questions asked anew before an answer ended.", func(s *Status) uint64 { return s.Resolver.Prefetch }),

	ofUpstreams("questions_total", "Questions asked of the upstream since the last reload.", counter, func(u *Upstream) float64 { return float64(u.Asked) }),
	ofUpstreams("hedges_total", "Of these, asked of a second server early.", counter, func(u *Upstream) float64 { return float64(u.Hedges) }),
	ofUpstreams("hedges_refused_total", "Of these, not asked early because that would be too many.", counter, func(u *Upstream) float64 { return float64(u.Refused) }),
	ofUpstreams("down", "1 if no server of the upstream answers.", gauge, func(u *Upstream) float64 { return truth(u.Down) }),

	ofServers("sent_total", "Queries and probes sent since the last reload.", counter, func(u *Upstream, i int) float64 { return float64(u.Servers[i].Sent) }),
	ofServers("answered_total", "Exchanges that ended with a reply.", counter, func(u *Upstream, i int) float64 { return float64(u.Servers[i].Answered) }),
	ofServers("timeouts_total", "Exchanges that ended in silence.", counter, func(u *Upstream, i int) float64 { return float64(u.Servers[i].Timeouts) }),
	ofServers("failures_total", "Exchanges that ended with another error.", counter, func(u *Upstream, i int) float64 { return float64(u.Servers[i].Failures) }),
	ofServers("ignored_total", "Packets that were no reply to what was asked.", counter, func(u *Upstream, i int) float64 { return float64(u.Servers[i].Ignored) }),
	ofServers("connections_opened_total", "Connections made.", counter, func(u *Upstream, i int) float64 { return float64(u.Servers[i].Opened) }),
	ofServers("connections", "Connections that are open.", gauge, func(u *Upstream, i int) float64 { return float64(u.Servers[i].Connections) }),
	ofServers("failing", "1 if the server is not asked while another works.", gauge, func(u *Upstream, i int) float64 { return truth(u.Servers[i].Failing) }),
	ofServers("failing_since_seconds", "Since when, or 0.", gauge, func(u *Upstream, i int) float64 { return epochSeconds(u.Servers[i].FailingSince) }),
	ofServers("rtt_seconds", "Mean time of its replies, the last weighing most.", gauge, func(u *Upstream, i int) float64 { return u.Servers[i].RTT.Seconds() }),
	ofServers("rtt_p95_seconds", "Time within which 95 of 100 replies came, or 0 while that cannot be told.", gauge, func(u *Upstream, i int) float64 { return u.Servers[i].P95.Seconds() }),

	count("audit_received", "Records that were to be kept, and queries that were excluded.", func(s *Status) uint64 {
		return s.Audit.Recorded + s.Audit.Lost - s.Audit.Missing + s.Audit.Excluded.Sum()
	}),
	count("audit_recorded", "Records taken, on disk or pending.", func(s *Status) uint64 { return s.Audit.Recorded }),
	count("audit_changes", "Of those to be kept, the ones that are no queries.", func(s *Status) uint64 { return s.Audit.Changes }),
	count("audit_lost", "Records that could not be taken, or are missing; the log holds how many, and when.", func(s *Status) uint64 { return s.Audit.Lost }),
	count("audit_missing", "Of those lost, the ones that were on disk, in files that somebody removed or replaced while the server had them open.", func(s *Status) uint64 { return s.Audit.Missing }),
	{
		"audit_excluded_total", "Queries that were not to be recorded, by the setting that says so.", counter,
		[]string{"by"},
		func(s *Status, is func(v float64, labels ...string)) {
			is(float64(s.Audit.Excluded.Names), "exclude_domains")
			is(float64(s.Audit.Excluded.Clients), "exclude_clients")
		},
	},
	{
		"audit_excluded_blocked_total", "Of these, the ones that were blocked.", counter,
		[]string{"by"},
		func(s *Status, is func(v float64, labels ...string)) {
			is(float64(s.Audit.Excluded.NamesBlocked), "exclude_domains")
			is(float64(s.Audit.Excluded.ClientsBlocked), "exclude_clients")
		},
	},
	one("audit_pending", "Records that are not on disk yet.", gauge, func(s *Status) float64 { return float64(s.Audit.Pending) }),
	one("audit_last_sequence", "Number of the last record on disk.", gauge, func(s *Status) float64 { return float64(s.Audit.LastSeq) }),
	one("audit_segments", "Segments in the store.", gauge, func(s *Status) float64 { return float64(s.Audit.Segments) }),
	one("audit_packed_segments", "Segments of the store that are packed with others.", gauge, func(s *Status) float64 { return float64(s.Audit.Packed) }),
	one("audit_bytes", "Size of the store's files.", gauge, func(s *Status) float64 { return float64(s.Audit.Bytes) }),
	one("audit_files", "Files of the store.", gauge, func(s *Status) float64 { return float64(s.Audit.Files) }),
	one("audit_oldest_timestamp_seconds", "Time of the oldest record; 0 if there is none.", gauge, func(s *Status) float64 { return epochSeconds(s.Audit.Oldest) }),
	one("audit_held_files", "Files that are kept for a hold alone.", gauge, func(s *Status) float64 { return float64(s.Audit.Retention.HeldFiles) }),
	one("audit_held_bytes", "Size of these.", gauge, func(s *Status) float64 { return float64(s.Audit.Retention.HeldBytes) }),
	one("audit_retention_failing", "1 if nothing old can be removed.", gauge, func(s *Status) float64 { return truth(s.Audit.Retention.Error != "") }),
	one("audit_index_runs", "Files of the store's index.", gauge, func(s *Status) float64 { return float64(s.Audit.Index.Runs) }),
	one("audit_index_bytes", "Size of the index.", gauge, func(s *Status) float64 { return float64(s.Audit.Index.Bytes) }),
	one("audit_index_records", "Records that the index is about.", gauge, func(s *Status) float64 { return float64(s.Audit.Index.Records) }),
	one("audit_index_behind", "Records that the index is not about yet.", gauge, func(s *Status) float64 { return float64(s.Audit.Index.Behind) }),
	one("audit_index_damaged", "Files of the index that cannot be used and will be made again.", gauge, func(s *Status) float64 { return float64(s.Audit.Index.Damaged) }),
	one("audit_commit_seconds", "How long the last commit took.", gauge, func(s *Status) float64 { return s.Audit.LastSeal.Seconds() }),
	count("audit_withheld", "Answers that were not given because their records could not be written in time.", func(s *Status) uint64 { return s.Audit.Withheld }),
	one("audit_stalled_seconds", "How long the disk has kept the log waiting, if longer than a second.", gauge, func(s *Status) float64 { return s.Audit.Stalled.Seconds() }),
	one("audit_exposed", "1 if records that are not on disk yet would not outlive a process that is killed.", gauge, func(s *Status) float64 { return truth(s.Audit.Exposed != "") }),
	one("audit_failing", "1 if the last commit failed.", gauge, func(s *Status) float64 { return truth(s.Audit.LastError != "") }),
}
