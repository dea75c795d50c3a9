/* Functions that nobody calls, with sites and large tables, one of them by way of a pointer that nobody uses; and one that is called,
 * with a site. */

#include <invar.h>
#include <stdio.h>

static void probe(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_used, probe);

static void number(struct invar_verdict *verdict) { verdict->data = 1; }
INVAR_CONSTANT(c_number, uint32_t, number);

static const char table[1 << 20] = {1, 2, 3}, other_table[1 << 20] = {4, 5, 6};

int never_called(int x)
{
	return invar_branch(c_used) ? table[x] + INVAR_VALUE(c_number) + invar_select(c_used, 2) : 0;
}

static int chosen(int x) { return other_table[x]; }
static int fallback(int x) { return x; }
INVAR_POINTER(int, never_used, (int), c_used, chosen, fallback);

int main(void)
{
	printf("used\t%d\n", invar_branch(c_used));
	fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
