/* SPDX-License-Identifier: MIT OR Apache-2.0
 * A reference binder: binds a module's sites by docs/site-abi.md, version 2, on Linux on x86-64, AArch64 and 64-bit RISC-V. No allocation, no libc, no thread
 * pointer, no variables of its own: raw system calls, and the memory of the module and of the caller. README.md says when to call it. */
#ifndef INVAR_BINDER_H
#define INVAR_BINDER_H
#if !defined __linux__ || !defined __LP64__ || !(defined __x86_64__ || defined __AARCH64EL__ || defined __riscv)
#error "the reference binder is for Linux on x86-64, AArch64 and RISC-V"
#endif
#include "invar.h"

/* A key's record; distances count from their own fields. flags: 1 a fact of safety, 2 slice sites may depend on it, 4 a symbol's,
 * 8 the time slice key, 16 the runtime's own, 32 a switch. */
struct invar_key_record { int32_t state, names, probe; uint16_t names_length; uint8_t values, flags; };
/* Decides a key: fills in value, origin, data and evidence of a verdict that is zero. */
typedef void (*invar_decider)(struct invar_verdict *, const struct invar_key_record *);

/* What came of it, in the module's own memory. The time is not measured here. */
struct __attribute__((may_alias)) invar_outcome {
	uint8_t phase, reason, writers, reserved;
	uint32_t detail, bound, left;
	uint32_t request;	/* 0: none; else the distance of each thread's request byte from its pointer, its highest bit inverted */
	uint32_t said, nanoseconds[2];
	uint16_t refusals[3], reserved3;	/* by writer, in the order of their bits: an error number, or 4096 and a reason; 0: none */
};

/* A module, mapped and relocated. Its headers must be right; what stands in its tables is looked at before it is believed. */
struct invar_module {
	uintptr_t base;			/* what the loader added to the file's addresses */
	const void *headers;		/* program headers, Elf64_Phdr, and how many */
	size_t count;
	const char *path;		/* the file that it is mapped from; null: as if only INVAR_WRITER_MPROTECT could be used */
	const struct invar_module *next;	/* in a list of the process's modules, in the loader's order, */
	const struct invar_module *modules;	/* which begins here; null: no others. Of them, base, headers, count and next are enough */
	unsigned writers;		/* that may be used: INVAR_WRITER_; none: sites stay checked */
	int one_thread;			/* not 0: there is no other thread, as the caller vouches; 0: the kernel is asked */
	size_t page;			/* of memory, in bytes (AT_PAGESZ); 0: 4096 */
	int32_t spare_request;		/* without the time slice key: two bytes to write in every thread, from its pointer; 0: none */
	invar_decider decide;		/* in the place of all records' probes; null: they are called */
	const struct invar_outcome *outcome;	/* set; null if there are no tables */
};
enum { INVAR_WRITER_SWAP = 1, INVAR_WRITER_MEMFD = 2, INVAR_WRITER_MPROTECT = 4, INVAR_NO_TABLES = 254, INVAR_BOUND_EARLIER = 255 };

/* Decides the module's keys and binds its sites. 0, or the outcome's reason, or one of the last two above. */
int invar_bind(struct invar_module *);
static inline uintptr_t invar_at(const int32_t *field) { return (uintptr_t)field + (uintptr_t)(intptr_t)*field; } /* where a distance leads */
#endif
