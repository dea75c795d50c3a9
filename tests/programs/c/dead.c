/* A function that nobody calls, with a site and a large table; and one that is called, with a site. */

#include <invar.h>
#include <stdio.h>

static void probe(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_used, probe);

static const char table[1 << 20] = {1, 2, 3};

int never_called(int x)
{
	return invar_branch(c_used) ? table[x] : 0;
}

int main(void)
{
	printf("used\t%d\n", invar_branch(c_used));
	fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
