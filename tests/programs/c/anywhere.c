/* What stands in invar.h, once each: the same source on every system. */
#include <stdio.h>
#include "invar.h"

static void probe_on(struct invar_verdict *verdict)
{
	verdict->value = 1;
	invar_evidence(verdict, "says so");
}
INVAR_KEY(anywhere_on, probe_on);

/* Asks for another key. */
static void probe_width(struct invar_verdict *verdict)
{
	verdict->value = invar_value(anywhere_on) ? 2 : 0;
}
INVAR_KEY_VALUES(anywhere_width, probe_width, "narrow\0wide\0widest", 3);

static void probe_line(struct invar_verdict *verdict)
{
	verdict->data = 64;
	verdict->value = 1;
}
INVAR_CONSTANT(anywhere_line, uint32_t, probe_line);

int main(void)
{
	int inside;

	invar_slice_enter();
	inside = 7;
	invar_slice_leave();
	printf("on %d\n", invar_branch(anywhere_on) ? 1 : 0);
	printf("width %d\n", invar_branch_is(anywhere_width, 2) ? 2 : 0);
	printf("value %d\n", (int)invar_value(anywhere_width));
	printf("number %d\n", (int)INVAR_VALUE(anywhere_line));
	printf("section %d\n", inside);
	return 0;
}
