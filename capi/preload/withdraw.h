/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Takes functions of this library out of the way, as if it had never defined them.
 */
#ifndef INVAR_WITHDRAW_H
#define INVAR_WITHDRAW_H

#include <invar.h>
#include <stddef.h>

/* Whether there is anything to stand in front of. The kernel grants time on these machines only. The names and versions are glibc's,
 * which has all of the functions since 2.30. */
#if INVAR_SITES && (defined __x86_64__ || defined __riscv) && defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 30)
#define IS_IN_FRONT 1
#else
#define IS_IN_FRONT 0
#endif

/* A function that this library defines, and the one of the C library's that it stands in front of. */
struct replacement {
	void *own;
	void *behind;			/* NULL: the C library has none */
};

/* Withdraws these functions: the loader finds them no more, neither for libraries that are opened later nor by dlsym(3), and
 * every pointer to them that the loader has stored for a module leads to the one behind. Called before the program's own code
 * runs. 0; or the errno by which the pages of a pointer or of a symbol could not be made writable, and then some calls still
 * pass through this library. */
int withdraw(const struct replacement *replacements, size_t count);

#endif
