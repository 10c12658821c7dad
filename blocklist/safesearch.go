package blocklist

import (
	"fmt"
	"slices"
	"strings"
)

// SafeSearch says which hosts of search engines stand in for the usual ones: those that leave adult results out.
type SafeSearch uint8

// SafeSearchModerate and SafeSearchStrict differ in what YouTube still shows.
const (
	SafeSearchOff SafeSearch = iota
	SafeSearchModerate
	SafeSearchStrict
)

var safeSearchNames = [...]string{"off", "moderate", "strict"}

// String returns the word that ParseSafeSearch reads.
func (s SafeSearch) String() string { return safeSearchNames[s] }

// ParseSafeSearch reads the configuration's word; "" is SafeSearchOff.
func ParseSafeSearch(text string) (SafeSearch, error) {
	if text == "" {
		return SafeSearchOff, nil
	}
	for i, name := range safeSearchNames {
		if text == name {
			return SafeSearch(i), nil
		}
	}
	return 0, fmt.Errorf("safe_search %q is none of %s", text, strings.Join(safeSearchNames[:], ", "))
}

// safeHosts are the hosts by which engines let a network decide, and the names that they stand in for. A host's number
// is its place, from 1. Sources: the engines' help pages for network administrators.
var safeHosts = []struct {
	host  string
	only  SafeSearch // the one level that it is for; SafeSearchOff is both
	names []string
}{
	{"forcesafesearch.google.com", SafeSearchOff, googleHosts()},
	{"strict.bing.com", SafeSearchOff, []string{"bing.com", "www.bing.com", "m.bing.com", "edgeservices.bing.com"}},
	{"safe.duckduckgo.com", SafeSearchOff, []string{"duckduckgo.com", "www.duckduckgo.com", "start.duckduckgo.com", "duck.com", "www.duck.com"}},
	{"restrict.youtube.com", SafeSearchStrict, youtubeHosts},
	{"restrictmoderate.youtube.com", SafeSearchModerate, youtubeHosts},
	{"familysearch.yandex.ru", SafeSearchOff, []string{
		"yandex.ru", "www.yandex.ru", "yandex.com", "www.yandex.com", "yandex.by", "www.yandex.by", "yandex.kz", "www.yandex.kz",
		"yandex.ua", "www.yandex.ua", "ya.ru", "www.ya.ru",
	}},
	{"safesearch.pixabay.com", SafeSearchOff, []string{"pixabay.com", "www.pixabay.com"}},
	{"forcesafe.search.brave.com", SafeSearchOff, []string{"search.brave.com"}},
	{"strict-safe-search.ecosia.org", SafeSearchOff, []string{"ecosia.org", "www.ecosia.org"}},
}

var youtubeHosts = []string{
	"www.youtube.com", "m.youtube.com", "youtubei.googleapis.com", "youtube.googleapis.com", "www.youtube-nocookie.com",
}

// googleHosts returns the hosts of Google's search: www.google. and a country's ending.
func googleHosts() []string {
	const endings = `com ad ae com.af com.ag al am co.ao com.ar as at com.au az ba com.bd be bf bg com.bh bi bj com.bn com.bo
		com.br bs bt co.bw by com.bz ca cat cd cf cg ch ci co.ck cl cm cn com.co co.cr com.cu cv com.cy cz de dj dk dm com.do
		dz com.ec ee com.eg es com.et fi com.fj fm fr ga ge gg com.gh com.gi gl gm gr com.gt gy com.hk hn hr ht hu co.id ie
		co.il im co.in iq is it je com.jm jo co.jp co.ke kg com.kh ki co.kr com.kw kz la com.lb li lk co.ls lt lu lv com.ly
		co.ma md me mg mk ml com.mm mn com.mt mu mv mw com.mx com.my co.mz com.na ne com.ng com.ni nl no com.np nr nu co.nz
		com.om com.pa com.pe com.pg com.ph com.pk pl pn com.pr ps pt com.py com.qa ro rs ru rw com.sa com.sb sc se com.sg sh
		si sk com.sl sm sn so sr st com.sv td tg co.th com.tj tl tm tn to com.tr tt com.tw co.tz com.ua co.ug co.uk com.uy
		co.uz com.vc co.ve co.vi com.vn vu ws co.za co.zm co.zw`
	var hosts []string
	for _, ending := range strings.Fields(endings) {
		hosts = append(hosts, "www.google."+ending)
	}
	return hosts
}

// safeNumbers holds, per level, the number of the host that stands in for a wire name.
var safeNumbers = func() (byLevel [SafeSearchStrict + 1]map[string]uint8) {
	for level := SafeSearchModerate; level <= SafeSearchStrict; level++ {
		byLevel[level] = map[string]uint8{}
		for i, h := range safeHosts {
			for _, name := range h.names {
				if h.only == SafeSearchOff || h.only == level {
					byLevel[level][string(hostName(name))] = uint8(i + 1)
				}
			}
		}
	}
	return byLevel
}()

// safeNames are the wire names of safeHosts.
var safeNames = func() (names [][]byte) {
	for _, h := range safeHosts {
		names = append(names, hostName(h.host))
	}
	return names
}()

// hostName returns the wire name of a name in this file.
func hostName(text string) []byte {
	name, err := AppendWireName(nil, text)
	if err != nil {
		panic(err) // a mistake in this file, met by every test
	}
	return name
}

// host returns the number of the host that stands in for name, 0 for none.
func (s SafeSearch) host(name []byte) uint8 { return safeNumbers[s][string(name)] }

// SafeHost returns the wire name of the host with the number that Decision.Rewrite gives.
func SafeHost(number uint8) []byte { return slices.Clip(safeNames[number-1]) }
