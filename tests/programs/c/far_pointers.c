/* Pointers that lie on pages of their own. Says how many lead to what their key has chosen, and how many to their fallback. */

#include <invar.h>
#include <stdio.h>
#include <unistd.h>

static void probe_on(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(far_on, probe_on);

static int chosen(void) { return 1; }
static int fallback(void) { return 10; }
/* Two pages stand in the section of a pointer before it does. */
#define POINTER(name) \
	__asm__(".pushsection .data.rel.ro.invar_pointers." #name ", \"aw\", @progbits\n.zero 8192\n.popsection"); \
	INVAR_POINTER(int, name, (void), far_on, chosen, fallback)
POINTER(one);
POINTER(two);
POINTER(three);
POINTER(four);

int main(void)
{
	int sum = one() + two() + three() + four();

	printf("chosen %d\nfallback %d\n--\n", sum % 10, sum / 10);
	fflush(stdout);
	if (invar_report)
		invar_report(STDOUT_FILENO);
	return 0;
}
