// Package hosts tells which addresses belong to which host names and MAC addresses, so that a policy can name a client
// by either.
//
// It reads what a DHCP server writes down, and asks the kernel who is on the wire:
//
//	lease files   dnsmasq, Kea (memfile, IPv4 and IPv6), ISC dhcpd (dhcpd.leases, dhcpd6.leases)
//	neighbours    the tables of ARP and neighbour discovery, on Linux
//
// One picture is made of all. Where they say different things of an address:
//
//  1. Of two leases the one that ends later counts; of two that end together, that of the file named first.
//  2. The MAC address is that of the neighbour table, for it is what is on the wire now; then that of the lease; then the
//     one that the neighbour table held until less than an hour ago. The kernel forgets a neighbour that was silent for a
//     minute, and a client must not fall out of its policy with every pause.
//  3. An address without a name of its own has the name of its MAC address: a client that has a lease for IPv4 makes its
//     IPv6 addresses itself. That is so only if all leases seen with that MAC address bear one name, and none of them was
//     given to another MAC address: behind a repeater or a proxy many clients share one.
//
// One name may belong to several MAC addresses, and one MAC address to many addresses. Names are what clients say of
// themselves, and a MAC address can be taken by anybody on the same link: neither is proof of who asks.
//
// Lease files are read as a whole whenever they may have changed. What a client chose in them is checked: a host name
// other than letters, digits, "-" and "_" is no name. What cannot be read changes nothing and is told with its line. A
// last line without an end is still being written, and left for later.
//
// Kea's cleanup takes leases out of the file and into others beside it; they are read as Kea itself does when it starts:
// FILE.completed, or else FILE.2 and FILE.1, and then FILE.
package hosts
