#include "textflag.h"

// The constants of the rounds (FIPS 180-4 §4.2.2).
DATA rounds<>+0x00(SB)/8, $0x71374491428a2f98
DATA rounds<>+0x08(SB)/8, $0xe9b5dba5b5c0fbcf
DATA rounds<>+0x10(SB)/8, $0x59f111f13956c25b
DATA rounds<>+0x18(SB)/8, $0xab1c5ed5923f82a4
DATA rounds<>+0x20(SB)/8, $0x12835b01d807aa98
DATA rounds<>+0x28(SB)/8, $0x550c7dc3243185be
DATA rounds<>+0x30(SB)/8, $0x80deb1fe72be5d74
DATA rounds<>+0x38(SB)/8, $0xc19bf1749bdc06a7
DATA rounds<>+0x40(SB)/8, $0xefbe4786e49b69c1
DATA rounds<>+0x48(SB)/8, $0x240ca1cc0fc19dc6
DATA rounds<>+0x50(SB)/8, $0x4a7484aa2de92c6f
DATA rounds<>+0x58(SB)/8, $0x76f988da5cb0a9dc
DATA rounds<>+0x60(SB)/8, $0xa831c66d983e5152
DATA rounds<>+0x68(SB)/8, $0xbf597fc7b00327c8
DATA rounds<>+0x70(SB)/8, $0xd5a79147c6e00bf3
DATA rounds<>+0x78(SB)/8, $0x1429296706ca6351
DATA rounds<>+0x80(SB)/8, $0x2e1b213827b70a85
DATA rounds<>+0x88(SB)/8, $0x53380d134d2c6dfc
DATA rounds<>+0x90(SB)/8, $0x766a0abb650a7354
DATA rounds<>+0x98(SB)/8, $0x92722c8581c2c92e
DATA rounds<>+0xa0(SB)/8, $0xa81a664ba2bfe8a1
DATA rounds<>+0xa8(SB)/8, $0xc76c51a3c24b8b70
DATA rounds<>+0xb0(SB)/8, $0xd6990624d192e819
DATA rounds<>+0xb8(SB)/8, $0x106aa070f40e3585
DATA rounds<>+0xc0(SB)/8, $0x1e376c0819a4c116
DATA rounds<>+0xc8(SB)/8, $0x34b0bcb52748774c
DATA rounds<>+0xd0(SB)/8, $0x4ed8aa4a391c0cb3
DATA rounds<>+0xd8(SB)/8, $0x682e6ff35b9cca4f
DATA rounds<>+0xe0(SB)/8, $0x78a5636f748f82ee
DATA rounds<>+0xe8(SB)/8, $0x8cc7020884c87814
DATA rounds<>+0xf0(SB)/8, $0xa4506ceb90befffa
DATA rounds<>+0xf8(SB)/8, $0xc67178f2bef9a3f7
GLOBL rounds<>(SB), RODATA|NOPTR, $256

// The octets of each word in the order of the machine.
DATA flip<>+0x00(SB)/8, $0x0405060700010203
DATA flip<>+0x08(SB)/8, $0x0c0d0e0f08090a0b
GLOBL flip<>(SB), RODATA|NOPTR, $16

// LOAD takes four words of a message.
#define LOAD(from, at, m) \
	MOVOU  at(from), m; \
	PSHUFB X14, m

// FOUR does four rounds with the words m, on the state that s and t hold.
#define FOUR(k, m, s, t) \
	MOVOU       (k*16)(R10), X0; \
	PADDD       m, X0; \
	SHA256RNDS2 X0, s, t; \
	PSHUFD      $0x0e, X0, X0; \
	SHA256RNDS2 X0, t, s

// NEXT ends the making of the next four words: m are those now, before those before.
#define NEXT(m, before, next) \
	MOVO       m, X13; \
	PALIGNR    $4, before, X13; \
	PADDD      X13, next; \
	SHA256MSG2 m, next

// ADD adds what the state was.
#define ADD(at, s, t) \
	MOVOU (at), X13; \
	PADDD X13, s; \
	MOVOU s, (at); \
	MOVOU 16(at), X13; \
	PADDD X13, t; \
	MOVOU t, 16(at)

// func compress2(a, b *shaState, p, q *byte, blocks int)
TEXT ·compress2(SB), NOSPLIT, $0-40
	MOVQ  a+0(FP), DI
	MOVQ  b+8(FP), SI
	MOVQ  p+16(FP), R8
	MOVQ  q+24(FP), R9
	MOVQ  blocks+32(FP), CX
	LEAQ  rounds<>(SB), R10
	MOVOU flip<>(SB), X14
	MOVOU (DI), X1
	MOVOU 16(DI), X2
	MOVOU (SI), X7
	MOVOU 16(SI), X8

block:
	LOAD(R8, 0, X3)
	LOAD(R9, 0, X9)
	FOUR(0, X3, X1, X2)
	FOUR(0, X9, X7, X8)

	LOAD(R8, 16, X4)
	LOAD(R9, 16, X10)
	FOUR(1, X4, X1, X2)
	FOUR(1, X10, X7, X8)
	SHA256MSG1 X4, X3
	SHA256MSG1 X10, X9

	LOAD(R8, 32, X5)
	LOAD(R9, 32, X11)
	FOUR(2, X5, X1, X2)
	FOUR(2, X11, X7, X8)
	SHA256MSG1 X5, X4
	SHA256MSG1 X11, X10

	LOAD(R8, 48, X6)
	LOAD(R9, 48, X12)

#define STEP(k, m, before, next, n, nbefore, nnext) \
	FOUR(k, m, X1, X2); \
	FOUR(k, n, X7, X8); \
	NEXT(m, before, next); \
	NEXT(n, nbefore, nnext)

#define STEP1(k, m, before, next, n, nbefore, nnext) \
	STEP(k, m, before, next, n, nbefore, nnext); \
	SHA256MSG1 m, before; \
	SHA256MSG1 n, nbefore

	STEP1(3, X6, X5, X3, X12, X11, X9)
	STEP1(4, X3, X6, X4, X9, X12, X10)
	STEP1(5, X4, X3, X5, X10, X9, X11)
	STEP1(6, X5, X4, X6, X11, X10, X12)
	STEP1(7, X6, X5, X3, X12, X11, X9)
	STEP1(8, X3, X6, X4, X9, X12, X10)
	STEP1(9, X4, X3, X5, X10, X9, X11)
	STEP1(10, X5, X4, X6, X11, X10, X12)
	STEP1(11, X6, X5, X3, X12, X11, X9)
	STEP1(12, X3, X6, X4, X9, X12, X10)
	STEP(13, X4, X3, X5, X10, X9, X11)
	STEP(14, X5, X4, X6, X11, X10, X12)
	FOUR(15, X6, X1, X2)
	FOUR(15, X12, X7, X8)

	ADD(DI, X1, X2)
	ADD(SI, X7, X8)
	ADDQ $64, R8
	ADDQ $64, R9
	DECQ CX
	JNZ  block
	RET

// func cpuid(leaf uint32) (a, b, c uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	RET
