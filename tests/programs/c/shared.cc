// The first of two files: it has the key, and says what both find.

#include "shared.h"
#include <cstdio>

static void probe(invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_wide, probe);

int main()
{
	std::printf("here\t%ld\n", all(5));
	std::printf("elsewhere\t%ld\n", elsewhere(6));
	std::fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
