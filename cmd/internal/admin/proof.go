package admin

import "weir/audit"

// maxVerification bounds what is sent to be verified by, in octets: some thousand checkpoints.
const maxVerification = 16 << 20

// verification is an audit.Verification on its way.
type verification struct {
	Keys  []string `json:"keys,omitempty"`
	From  [][]byte `json:"from,omitempty"`
	Quick bool     `json:"quick,omitempty"`
}

func encodeVerification(how audit.Verification) verification {
	v := verification{From: how.From, Quick: how.Quick}
	for _, key := range how.Keys {
		v.Keys = append(v.Keys, key.String())
	}
	return v
}

func (v verification) decode() (how audit.Verification, err error) {
	how = audit.Verification{From: v.From, Quick: v.Quick}
	for _, text := range v.Keys {
		key, err := audit.ParsePublicKey(text)
		if err != nil {
			return how, err
		}
		how.Keys = append(how.Keys, key)
	}
	return how, nil
}

// proofTrailer is the last line of a bundle on its way.
type proofTrailer struct {
	Proven   *int   `json:"proven"`
	Unproven bool   `json:"unproven,omitempty"` // records were left out
	Error    string `json:"error,omitempty"`
}
