#separator \x09
#set_separator	,
#empty_field	(empty)
#unset_field	-
#path	dns
#open	2024-05-01-12-00-00
#fields	ts	uid	id.orig_h	id.orig_p	id.resp_h	id.resp_p	proto	trans_id	rtt	query	qclass	qclass_name	qtype	qtype_name	rcode	rcode_name	AA	TC	RD	RA	Z	answers	TTLs	rejected
#types	time	string	addr	port	addr	port	enum	count	interval	string	count	string	count	string	count	string	bool	bool	bool	bool	count	vector[string]	vector[interval]	bool
1714564800.000000	C43	192.0.2.7	-	-	-	udp	-	0.000003	cdn.track.example	1	C_INTERNET	1	A	3	NXDOMAIN	-	-	-	-	-	-	-	F
1714564800.000001	C44	2001:db8::7	-	-	-	tcp	-	0.012346	www.shop.example	1	C_INTERNET	28	AAAA	0	NOERROR	-	-	-	-	-	edge.cdn.example,2001:db8::1,192.0.2.1	-	F
1714564800.000002	C45	192.0.2.7	-	-	-	udp	-	-	www.shop.example	1	C_INTERNET	65	HTTPS	0	NOERROR	-	-	-	-	-	-	-	F
1714564800.000003	C48	-	-	-	-	udp	-	-	-	-	-	-	-	-	-	-	-	-	-	-	-	-	F
1714564800.000004	C49	192.0.2.8	-	-	-	udp	-	-	=1+cmd|'\x5c032/C\x5c032x'.a\x5c046b\x5c092\x5c027.\x5c000\x5c255\x5c013	3	C_CHAOS	65280	query-65280	5	REFUSED	-	-	-	-	-	-	-	F
1714564800.000005	C50	192.0.2.8	-	-	-	udp	-	-	.	1	C_INTERNET	1	A	0	NOERROR	-	-	-	-	-	-	-	F
1714564800.000005	C51	192.0.2.8	-	-	-	udp	-	-	-x.track.example	1	C_INTERNET	16	TXT	0	NOERROR	-	-	-	-	-	-	-	F
#close	2024-05-01-12-00-00
