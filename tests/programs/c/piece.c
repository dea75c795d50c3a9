/* A library for programs that load it in unusual ways. piece() adds 1, and 1000 if its key is on; the key's probe says so.
 * LOCKED, SHARED: a function with a site has a page of its own, and when sites are bound this page cannot be read, or is in
 * a mapping that other processes could have. */
#define _GNU_SOURCE
#include <invar.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void probe_piece(struct invar_verdict *verdict)
{
	verdict->value = 1;
	invar_evidence(verdict, "its own");
}
INVAR_KEY(piece, probe_piece);

void piece_report(void)
{
	if (invar_report)
		invar_report(1);
}

#if defined LOCKED || defined SHARED
enum { PAGE = 4096 };
#define ON_A_PAGE __attribute__((section("pages"), aligned(PAGE), noinline, used, no_reorder))

ON_A_PAGE static unsigned long paged(unsigned long x)
{
	if (invar_branch(piece))
		x += 1000;
	return x + 1;
}

/* So that nothing else is on it. */
ON_A_PAGE static void behind(void)
{
	__asm__ volatile("");
}

static void check(int right, const char *what)
{
	if (!right) {
		perror(what);
		exit(2);
	}
}
#endif

#ifdef LOCKED
static void early(void)
{
	check(!mprotect((void *)paged, PAGE, PROT_NONE), "mprotect");
}

unsigned long unlocked(unsigned long x)
{
	check(!mprotect((void *)paged, PAGE, PROT_READ | PROT_EXEC), "mprotect");
	return paged(x);
}
#endif

#ifdef SHARED
static int file;
static char before[PAGE], after[PAGE];

static void early(void)
{
	memcpy(before, (void *)paged, PAGE);
	file = memfd_create("text", 0);
	check(file >= 0 && write(file, before, PAGE) == PAGE, "memfd");
	check(mmap((void *)paged, PAGE, PROT_READ | PROT_EXEC, MAP_FIXED | MAP_SHARED, file, 0) == (void *)paged, "mmap");
}

/* Whether the function does what it should, and is as it was where others would see it. */
unsigned long piece(unsigned long x)
{
	check(pread(file, after, PAGE, 0) == PAGE, "pread");
	return memcmp(before, after, PAGE) ? 0 : paged(x);
}
#else
unsigned long piece(unsigned long x)
{
	if (invar_branch(piece))
		x += 1000;
	return x + 1;
}
#endif

#if defined LOCKED || defined SHARED
/* Before the header's own. */
__attribute__((section(".init_array.00010"), used)) static void (*const first)(void) = early;
#endif
