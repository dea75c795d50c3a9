/* Keys whose probes ask for others, or answer badly, with libinvar or without. Says what came of each: value, origin, how often its
 * probe ran, and why; then whether sites agree. Returns 0. */

#include <invar.h>
#include <stdio.h>

static int early = -1;

/* Each counts its runs. */
#define PROBE(name, ...) \
	static int runs_##name; \
	static void probe_##name(struct invar_verdict *verdict) \
	{ \
		runs_##name++; \
		__VA_ARGS__ \
	}

INVAR_EXTERN_KEY(a_last);
INVAR_EXTERN_KEY(a_circle);
INVAR_EXTERN_KEY(a_twist);
INVAR_EXTERN_KEY(a_self);

/* Asked for before its turn, by one that comes first. */
PROBE(a_first, verdict->value = invar_value(a_last); invar_evidence(verdict, "as the last");)
INVAR_KEY(a_first, probe_a_first);
PROBE(a_circle, verdict->value = (uint8_t)(1 + invar_value(a_twist));)
INVAR_KEY_VALUES(a_circle, probe_a_circle, "none\0some\0all", 3);
PROBE(a_twist, verdict->value = (uint8_t)(1 + invar_value(a_circle));)
INVAR_KEY_VALUES(a_twist, probe_a_twist, "none\0some\0all", 3);
PROBE(a_outside, verdict->value = (uint8_t)(1 + invar_value(a_circle));)
INVAR_KEY_VALUES(a_outside, probe_a_outside, "none\0some\0all", 3);
PROBE(a_self, verdict->value = (uint8_t)(1 + invar_value(a_self));)
INVAR_KEY_VALUES(a_self, probe_a_self, "none\0some\0all", 3);
PROBE(a_beyond, verdict->value = 2;)
INVAR_KEY(a_beyond, probe_a_beyond);
PROBE(a_odd, verdict->value = 1; verdict->origin = INVAR_ORIGIN_SETTING;)
INVAR_KEY(a_odd, probe_a_odd);
PROBE(a_lost, verdict->value = 1; verdict->origin = INVAR_ORIGIN_FAILED; invar_evidence(verdict, "cannot tell");)
INVAR_KEY(a_lost, probe_a_lost);
PROBE(a_long, verdict->value = 1; verdict->status = 9; verdict->sets = 1; verdict->evidence_length = 65535;)
INVAR_KEY(a_long, probe_a_long);
PROBE(a_last, verdict->value = 1; invar_evidence(verdict, "is");)
INVAR_KEY(a_last, probe_a_last);

#ifndef NO_PREINIT
static void look_early(void) { early = invar_branch(a_last); }
__attribute__((used, section(".preinit_array"))) static void (*const look)(void) = look_early;
#endif

static void say(const char *name, const struct invar_verdict *verdict, int runs, int branch)
{
	printf("%s\t%d %d %d %d%s\t%.*s\n", name, verdict->value, verdict->origin, runs, branch,
	       verdict->status == 2 && !verdict->reserved && !verdict->sets ? "" : " not sealed",
	       verdict->evidence_length < 60 ? verdict->evidence_length : 0, verdict->evidence);
}
#define SAY(name, position) say(#name, &invar_key_##name, runs_##name, invar_branch_is(name, position))

int main(void)
{
	printf("early\t%d\n", early);
	SAY(a_first, 1);
	SAY(a_circle, 1);
	SAY(a_twist, 1);
	SAY(a_outside, 1);
	SAY(a_self, 1);
	SAY(a_beyond, 1);
	SAY(a_odd, 1);
	SAY(a_lost, 1);
	SAY(a_long, 1);
	SAY(a_last, 1);
	invar_slice_enter();
	invar_slice_leave();
#if INVAR_SITES
	printf("slice\t%d %d %.*s\n", invar_slice.value, invar_slice.origin, invar_slice.evidence_length, invar_slice.evidence);
#endif
	return 0;
}
