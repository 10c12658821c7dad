// Package admin lets the verbs of the command line reach a running server: HTTP
// with JSON over a Unix socket, and the client for it.
//
//	GET  /v1/status            Status
//	GET  /v1/lists             []List
//	GET  /v1/lists/find        []Holding     ?name=
//	GET  /v1/explain           Explanation   ?name=&type=&client=
//	POST /v1/reload            Reload
//	GET  /v1/audit/search      records, one JSON object a line
//	GET  /v1/audit/tail        the same, as they are sealed, until the client leaves
//	GET  /v1/audit/top         audit.Top     ?by=&limit=
//	POST /v1/audit/verify      audit.Report
//	GET  /v1/audit/prove       a bundle of proofs, a line each
//
// A stream of records ends with a line {"end":true}, or {"error":"…"}: without
// either it was cut. The socket's file mode decides who may connect; there is
// no other listener. Nothing that changes state answers to GET.
package admin
