/* Copies at random sizes and alignments by the routine and by libc's, and says which variant did, and whether all was the same. */

#include "copy.h"
#ifdef REPORT
#include <invar.h>
#endif
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

typedef void *copy_function(void *, const void *, size_t);

/* Without CALLS_ONLY its address is taken as well: in data, where the loader or linker puts it, and in code. Linkers call by a lazy entry of
 * the PLT only what is not. */
#ifdef CALLS_ONLY
static void *call(void *to, const void *from, size_t length) { return mylib_copy(to, from, length); }
#define ADDRESS call
#else
#define ADDRESS mylib_copy
#endif
static copy_function *volatile by_data = ADDRESS;

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t bound)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % bound;
}

enum { ROOM = 4096 };

static unsigned char libcs[ROOM];

/* A page between two that nobody may read or write. */
static unsigned char *fenced(void)
{
	char *pages = (char *)mmap(NULL, 3 * ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(pages + ROOM, ROOM, PROT_READ | PROT_WRITE);
	return (unsigned char *)pages + ROOM;
}

int main(void)
{
	static const char *const variants[] = {"anywhere", "avx2", "avx512"};
	copy_function *volatile by_code = ADDRESS;
	unsigned char *from = fenced(), *ours = fenced();
	int round, differ = 0, at;

	for (at = 0; at < ROOM; at++)
		from[at] = (unsigned char)random_below(256);
	for (round = 0; round < 3000; round++) {
		/* Small ones as often as large ones. */
		size_t length = random_below(round % 2 ? 80 : ROOM - 128);
		size_t to_offset = random_below(64), from_offset = random_below(64);
		copy_function *copy = round % 3 == 0 ? by_data : by_code;
		void *result;

		/* Some end where the page does. */
		if (round % 5 == 0)
			to_offset = ROOM - length;
		if (round % 7 == 0)
			from_offset = ROOM - length;
		memset(ours, 0xa5, ROOM);
		memset(libcs, 0xa5, ROOM);
		memcpy(libcs + to_offset, from + from_offset, length);
		result = round % 3 == 2 ? mylib_copy(ours + to_offset, from + from_offset, length)
					: copy(ours + to_offset, from + from_offset, length);
		differ += result != ours + to_offset || memcmp(ours, libcs, ROOM) != 0;
	}
	printf("differ\t%d\n", differ);
	printf("pointers\t%s\n", by_data == by_code ? "equal" : "differ");
	for (at = 0; at < 3; at++)
		if (mylib_ran[at])
			printf("variant\t%s %lu\n", variants[at], mylib_ran[at]);
#ifdef REPORT
	fflush(stdout);
	return invar_report(1);
#endif
	return 0;
}
