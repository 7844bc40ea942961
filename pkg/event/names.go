package event

// signals holds the names of the Linux signals without SIG, by number. Ruby
// calls 0 EXIT; 16 (STKFLT) has no name there.
var signals = [...]string{"EXIT", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
	"USR2", "PIPE", "ALRM", "TERM", "", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
	"VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"}

// SignalName returns a signal's name without SIG, or "" for one without a name.
func SignalName(sig int64) string {
	if sig < 0 || sig >= int64(len(signals)) {
		return ""
	}
	return signals[sig]
}

// families holds the address families that vivarium names.
var families = map[uint64]string{0: "AF_UNSPEC", 1: "AF_UNIX", 2: "AF_INET", 3: "AF_AX25", 4: "AF_IPX",
	5: "AF_APPLETALK", 10: "AF_INET6", 12: "AF_DECnet", 15: "AF_KEY", 16: "AF_NETLINK", 17: "AF_PACKET",
	21: "AF_RDS", 22: "AF_SNA", 24: "AF_PPPOX", 26: "AF_LLC", 27: "AF_IB", 28: "AF_MPLS", 29: "AF_CAN",
	30: "AF_TIPC", 31: "AF_BLUETOOTH", 34: "AF_ISDN", 38: "AF_ALG", 40: "AF_VSOCK", 41: "AF_KCM", 44: "AF_XDP",
	46: "AF_MAX"}

var sockTypes = map[uint64]string{1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 4: "SOCK_RDM",
	5: "SOCK_SEQPACKET", 10: "SOCK_PACKET", 2048: "SOCK_NONBLOCK", 524288: "SOCK_CLOEXEC"}

// protocols is the kernel's list (include/uapi/linux/in.h and in6.h).
var protocols = map[uint64]string{0: "IPPROTO_IP", 1: "IPPROTO_ICMP", 2: "IPPROTO_IGMP", 4: "IPPROTO_IPIP",
	6: "IPPROTO_TCP", 8: "IPPROTO_EGP", 12: "IPPROTO_PUP", 17: "IPPROTO_UDP", 22: "IPPROTO_IDP", 29: "IPPROTO_TP",
	33: "IPPROTO_DCCP", 41: "IPPROTO_IPV6", 43: "IPPROTO_ROUTING", 44: "IPPROTO_FRAGMENT", 46: "IPPROTO_RSVP",
	47: "IPPROTO_GRE", 50: "IPPROTO_ESP", 51: "IPPROTO_AH", 58: "IPPROTO_ICMPV6", 59: "IPPROTO_NONE",
	60: "IPPROTO_DSTOPTS", 92: "IPPROTO_MTP", 94: "IPPROTO_BEETPH", 98: "IPPROTO_ENCAP", 103: "IPPROTO_PIM",
	108: "IPPROTO_COMP", 115: "IPPROTO_L2TP", 132: "IPPROTO_SCTP", 135: "IPPROTO_MH", 136: "IPPROTO_UDPLITE",
	137: "IPPROTO_MPLS", 143: "IPPROTO_ETHERNET", 144: "IPPROTO_AGGFRAG", 255: "IPPROTO_RAW",
	256: "IPPROTO_SMC", 262: "IPPROTO_MPTCP"}

// capabilities has the names of capabilities(7) that vivarium has. It shows the others as
// UNKNOWN, and so does viv.
var capabilities = [...]string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "",
	"CAP_NET_ADMIN", "CAP_NET_RAW", "", "", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "", "CAP_MKNOD", "",
	"CAP_AUDIT_WRITE", "", "", "", "", "", "", "", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE"}

// CapName returns the name of a capability, or "" if vivarium has no name for it. Every
// high-risk capability has one.
func CapName(c uint64) string {
	if c >= uint64(len(capabilities)) {
		return ""
	}
	return capabilities[c]
}

// readIDs is enum kernel_read_file_id, as the kernel itself names it.
var readIDs = [...]string{"unknown", "firmware", "kernel-module", "kexec-image", "kexec-initramfs", "security-policy",
	"x509-certificate"}
