package blocklist

// canaries are names that applications look up to learn whether the network minds if they ask elsewhere. That they do
// not exist says that it does: Firefox's for DNS over HTTPS, and those of Apple's iCloud Private Relay.
var canaries = []string{
	"use-application-dns.net",
	"mask.icloud.com", "mask-h2.icloud.com", "mask-api.icloud.com", "mask-canary.icloud.com",
}

// canaryRule is read after a policy's own rules: who allows such a name by a rule has it.
var canaryRule = RuleConfig{Action: ActionBlock, Domains: canaries, Answer: AnswerNXDOMAIN}
