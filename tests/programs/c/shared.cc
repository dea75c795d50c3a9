// The first of two files: it has the key, and says what both find.

#include "shared.h"
#include <cstdio>

static void probe(invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_wide, probe);
static void highest(invar_verdict *verdict) { verdict->value = 2; }
INVAR_KEY_VALUES(c_level, highest, "low\0middle\0high", 3);
static void number(invar_verdict *verdict) { verdict->data = 30000000; }
INVAR_CONSTANT(c_half, uint32_t, number);
INVAR_CONSTANT(c_whole, uint64_t, number);
static int chosen(int x) { return x + 300000000; }
static int otherwise(int x) { return x; }
INVAR_POINTER(int, c_pointer, (int), c_wide, chosen, otherwise);

int main()
{
	std::printf("here\t%ld\n", all(5));
	std::printf("elsewhere\t%ld\n", elsewhere(6));
	std::fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
