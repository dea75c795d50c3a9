/* A library with the switch of its program, in another object file of its own. */

#include <invar.h>

static void probe(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_SWITCH(switched_trace, probe);

int traced(void) { return invar_branch(switched_trace) ? 1 + invar_value(switched_trace) : 0; }

/* Sets it from here, in the program too. */
int trace_on(void) { return invar_set("switched_trace", "on"); }
int trace_off(void) { return invar_set("switched_trace", "off"); }
