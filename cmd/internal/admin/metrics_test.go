package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"weir/audit"
	"weir/resolver/upstream"
)

// full is a status in which each number is another.
func full() (*Status, map[string]float64) {
	s := &Status{
		Categories: make([]Category, 1), Policies: make([]string, 2), Observing: make([]string, 3), Attention: make([]string, 4),
		Upstreams: []Upstream{{GroupStats: upstream.GroupStats{Servers: make([]upstream.ServerStats, 1)}}},
		Sources:   make([]audit.SourceCount, 1),
	}
	numbers, n := map[string]float64{}, 1000
	var fill func(path string, v reflect.Value)
	fill = func(path string, v reflect.Value) {
		n++
		switch at := v.Addr().Interface().(type) {
		case *time.Time:
			*at = time.Unix(int64(n), 0)
			numbers[path] = float64(n)
			return
		case *time.Duration:
			*at = time.Duration(n) * time.Second
			numbers[path] = float64(n)
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				fill(path, v.Index(i))
			}
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(n))
			numbers[path] = float64(n)
		case reflect.Uint, reflect.Uint32, reflect.Uint64:
			v.SetUint(uint64(n))
			numbers[path] = float64(n)
		}
	}
	fill("", reflect.ValueOf(s).Elem())
	return s, numbers
}

// statusOnly are numbers that no metric has: what they are for is another's sum, or
// a person's eye.
var statusOnly = []string{
	".PID", ".NextSwitch", ".Categories.Lists", ".Resolver.Cache.Implied",
	".Upstreams.GroupStats.Servers.NextProbe", ".Upstreams.GroupStats.Servers.Probes", ".Upstreams.GroupStats.Servers.Stats.Panics",
}

type statusOf struct {
	*backend
	status *Status
}

func (b statusOf) Status() Status { return *b.status }

// gathered returns the values of all metrics of a status.
func gathered(t *testing.T, s *Status) []float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(&statusCollector{statusOf{status: s}})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var values []float64
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values = append(values, m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return values
}

// TestMetricsAreAllOfTheStatus: what is new in the status is a metric as well, or
// said not to be.
func TestMetricsAreAllOfTheStatus(t *testing.T) {
	s, numbers := full()
	values := gathered(t, s)
	for path, want := range numbers {
		if only := slices.Contains(statusOnly, path); slices.Contains(values, want) == only {
			t.Errorf("%s: only in the status: %v, want %v", path, !only, only)
		}
	}
	problems, err := testutil.CollectAndLint(&statusCollector{statusOf{status: s}})
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestMetricsLabels: any text is a label's value, and there is one series for each
// server and category, however much is asked.
func TestMetricsLabels(t *testing.T) {
	s, _ := full()
	s.Version = "1\"\\\n\xff"
	s.Categories[0].Name = "a\xc3\x28b"
	s.Upstreams[0].Name, s.Upstreams[0].Servers[0].Server = "de\"fault", "udp://192.0.2.1:53"
	before := len(gathered(t, s))
	s.Resolver.Answered += 1_000_000
	s.Audit.LastSeq += 1_000_000
	if after := len(gathered(t, s)); after != before {
		t.Errorf("%d series, before there were %d", after, before)
	}
	s.Upstreams = append(s.Upstreams, s.Upstreams[0])
	s.Upstreams[1].Name = "corp"
	if more := len(gathered(t, s)) - before; more != 15 {
		t.Errorf("another upstream with one server takes %d series, want 15", more)
	}

	page := httptest.NewRecorder()
	metricsHandler(statusOf{status: s}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`weir_info{version="1\"\\\n` + "\uFFFD" + `"} 1`, "weir_category_names{category=\"a\uFFFD(b\"} ",
		`weir_upstream_server_sent_total{server="udp://192.0.2.1:53",upstream="de\"fault"} `,
	} {
		if !strings.Contains(page.Body.String(), "\n"+want) || !utf8.Valid(page.Body.Bytes()) {
			t.Errorf("no line %s in\n%s", want, page.Body)
		}
	}

	w := newWorld(t, &backend{})
	var out bytes.Buffer
	if err := w.Metrics(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("weir_info{version=%q} 1\n", "1"), "# TYPE weir_queries_total counter\n", "\ngo_goroutines "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%.2000s", want, out.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Metrics(ctx, &out); err == nil {
		t.Error("interrupted without an error")
	}
}
