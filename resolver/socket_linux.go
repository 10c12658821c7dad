package resolver

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	canShare  = true // several sockets on one UDP port, clients spread by the kernel
	oobSize   = 64   // octets of control data that a datagram may bring
	udpBuffer = 4 << 20
)

// sharePort lets other sockets of this user have the same port.
func sharePort(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }

// setUDPOptions prepares a UDP socket before it is bound: a shared port; no
// path MTU discovery, which spoofed ICMP could abuse (RFC 9715 §3.1); room for
// bursts as far as the system allows; and on a wildcard address the address
// asked, with each packet.
func setUDPOptions(fd int, v6, wild bool) error {
	if err := sharePort(fd); err != nil {
		return err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, udpBuffer)
	}
	level, discover, mode, info := unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT, unix.IP_PKTINFO
	if v6 {
		level, discover, mode, info = unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT, unix.IPV6_RECVPKTINFO
	}
	_ = unix.SetsockoptInt(fd, level, discover, mode) // best effort: replies are small anyway
	if wild {
		return unix.SetsockoptInt(fd, level, info, 1)
	}
	return nil
}

// parseOOB reads the address that a packet was sent to from the control data
// beside it and, where that is an IPv6 link-local one, the interface it came in on.
func parseOOB(oob []byte) (local netip.Addr, ifindex uint32) {
	const head = unix.SizeofCmsghdr
	if len(oob) < head {
		return local, 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	switch {
	case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(oob) >= head+unix.SizeofInet4Pktinfo:
		p := (*unix.Inet4Pktinfo)(unsafe.Pointer(&oob[head]))
		return netip.AddrFrom4(p.Spec_dst), 0
	case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(oob) >= head+unix.SizeofInet6Pktinfo:
		p := (*unix.Inet6Pktinfo)(unsafe.Pointer(&oob[head]))
		if local = netip.AddrFrom16(p.Addr); local.IsLinkLocalUnicast() {
			ifindex = p.Ifindex
		}
	}
	return local, ifindex
}

// appendOOB writes the control data that makes a packet leave from local, if
// that is valid, and by the interface ifindex, if that is not 0 and the packet
// IPv6; the routes decide the rest. It needs oobSize octets of room in dst.
func appendOOB(dst []byte, local netip.Addr, ifindex uint32) []byte {
	const head = unix.SizeofCmsghdr
	if !local.IsValid() && ifindex == 0 {
		return dst[:0]
	}
	dst = dst[:oobSize]
	clear(dst)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&dst[0]))
	if local.Is4() {
		h.Level, h.Type = unix.SOL_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		(*unix.Inet4Pktinfo)(unsafe.Pointer(&dst[head])).Spec_dst = local.As4()
		return dst[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)]
	}
	h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	p := (*unix.Inet6Pktinfo)(unsafe.Pointer(&dst[head]))
	p.Addr, p.Ifindex = local.As16(), ifindex
	return dst[:unix.CmsgSpace(unix.SizeofInet6Pktinfo)]
}
