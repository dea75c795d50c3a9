/* Keys and sites in C, written by hand after docs/site-abi.md and nothing else. The runtime comes with the Rust
 * half of the program, which finds these records in the same two sections as its own. */

#include <stdint.h>
#include <string.h>
#include <unistd.h>

struct verdict {
	uint8_t value, status, origin, reserved[5];
	uint64_t data;
	uint16_t evidence_length;
	char evidence[238];
};
typedef char verdict_has_256_bytes[sizeof(struct verdict) == 256 ? 1 : -1];

/* One key: its state, and its record with these flags. NAMES are separated by \0; the assembler adds the last. */
#define KEY_WITH(KEY_NAME, NAMES, VALUES, FLAGS) \
	__attribute__((visibility("hidden"))) struct verdict state_##KEY_NAME; \
	__attribute__((used)) static void probe_##KEY_NAME(struct verdict *verdict); \
	__asm__(".pushsection .rodata\n" \
		"names_" #KEY_NAME ": .asciz \"" NAMES "\"\n" \
		"names_end_" #KEY_NAME ":\n" \
		".popsection\n" \
		".pushsection invar2_keys, \"aR\", @progbits\n" \
		".balign 4\n" \
		".long state_" #KEY_NAME " - ., names_" #KEY_NAME " - ., probe_" #KEY_NAME " - .\n" \
		".short names_end_" #KEY_NAME " - names_" #KEY_NAME "\n" \
		".byte " #VALUES ", " #FLAGS "\n" \
		".popsection\n"); \
	static void probe_##KEY_NAME(struct verdict *verdict)
#define KEY(KEY_NAME, NAMES, VALUES) KEY_WITH(KEY_NAME, NAMES, VALUES, 0)

/* One site: goes on if the key has the value, else jumps to the label. */
#define SITE(KEY_NAME, VALUE, OTHERWISE) \
	__asm__ goto("2:\n" \
		     ".byte 0x40\n" \
		     "cmpb $" #VALUE ", state_" #KEY_NAME "(%%rip)\n" \
		     "jne %l[" #OTHERWISE "]\n" \
		     "3:\n" \
		     ".pushsection invar2_sites, \"aR?\", @progbits\n" \
		     ".balign 4\n" \
		     ".long 2b - ., %l[" #OTHERWISE "] - ., state_" #KEY_NAME " - .\n" \
		     ".byte 3b - 2b, 1, " #VALUE ", 0\n" \
		     ".popsection\n" \
		     : : : "memory", "cc" : OTHERWISE)

static void say(struct verdict *verdict, const char *why)
{
	verdict->evidence_length = (uint16_t)strlen(why);
	memcpy(verdict->evidence, why, verdict->evidence_length);
}

KEY(mode, "c.mode\\0none\\0some\\0all", 3)
{
	say(verdict, "decided in C");
	verdict->value = 1;
}

KEY(lost, "c.lost\\0off\\0on", 2)
{
	say(verdict, "does not know");
	verdict->value = 1;
	verdict->origin = 1;
}

KEY(wild, "c.wild\\0off\\0on", 2)
{
	verdict->value = 9;
}

/* The key of slice sites, which Rust has too: one of the two is probed. */
KEY_WITH(twin, "slice\\0off\\0on", 2, 26)
{
	static const char line[] = "probe\tslice\tC\n";

	if (write(1, line, sizeof line - 1) != sizeof line - 1)
		verdict->origin = 1;
	say(verdict, "probed in C");
}

KEY(many, "c.many\\0off\\0on", 2)
{
	verdict->value = 1;
}

/* On more pages than are bound one by one, and further apart than what is written at once. Never run. */
__asm__(".text\n"
	".rept 9000\n"
	".balign 64\n"
	"2:\n"
	".byte 0x40\n"
	"cmpb $1, state_many(%rip)\n"
	"jne 4f\n"
	"3:\n"
	"4: ret\n"
	".pushsection invar2_sites, \"aR\", @progbits\n"
	".balign 4\n"
	".long 2b - ., 4b - ., state_many - .\n"
	".byte 3b - 2b, 1, 1, 0\n"
	".popsection\n"
	".endr\n");

__attribute__((noinline)) int c_mode(void)
{
	SITE(mode, 2, not_all);
	return 2;
not_all:
	SITE(mode, 1, not_some);
	return 1;
not_some:
	return 0;
}

/* What C knows of the time slice key; -1 if that is nothing. */
int c_slice(void)
{
	return state_twin.status == 2 && state_twin.evidence_length > 0 ? state_twin.value : -1;
}

static inline int lost(void)
{
	SITE(lost, 1, off);
	return 1;
off:
	return 0;
}

/* A copy of the site in each. */
int c_lost(void) { return lost(); }
int c_lost_too(void) { return lost(); }

int c_wild(void)
{
	SITE(wild, 1, off);
	return 1;
off:
	return 0;
}
