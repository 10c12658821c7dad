package audit

import (
	"encoding/json"
	"io"
)

type jsonl struct{ e *json.Encoder }

func newJSONL(w io.Writer) Encoder { return jsonl{json.NewEncoder(w)} }

func (j jsonl) Write(r *Record) error { return j.e.Encode(r) }
func (j jsonl) Close() error          { return nil }
