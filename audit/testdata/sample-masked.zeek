#separator \x09
#set_separator	,
#empty_field	(empty)
#unset_field	-
#path	dns
#open	2024-05-01-12-00-00
#fields	ts	uid	id.orig_h	id.orig_p	id.resp_h	id.resp_p	proto	trans_id	rtt	query	qclass	qclass_name	qtype	qtype_name	rcode	rcode_name	AA	TC	RD	RA	Z	answers	TTLs	rejected
#types	time	string	addr	port	addr	port	enum	count	interval	string	count	string	count	string	count	string	bool	bool	bool	bool	count	vector[string]	vector[interval]	bool
1714564800.000000	C42	192.0.2.7	-	-	-	udp	-	0.000009	www.shop.example	1	C_INTERNET	1	A	0	NOERROR	-	-	-	-	-	-	-	F
1714564800.000000	C43	-	-	-	-	udp	-	0.000009	www.shop.example	1	C_INTERNET	1	A	0	NOERROR	-	-	-	-	-	-	-	F
1714564800.000000	C44	-	-	-	-	udp	-	0.000009	www.shop.example	1	C_INTERNET	1	A	0	NOERROR	-	-	-	-	-	-	-	F
1714564800.000000	C45	-	-	-	-	udp	-	0.000009	www.shop.example	1	C_INTERNET	1	A	0	NOERROR	-	-	-	-	-	-	-	F
1714564800.000000	C46	-	-	-	-	udp	-	0.000009	www.shop.example	1	C_INTERNET	1	A	0	NOERROR	-	-	-	-	-	-	-	F
#close	2024-05-01-12-00-00
