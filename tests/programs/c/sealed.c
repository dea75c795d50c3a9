/* A library with one key, which has been decided already by nobody knows whom: written by hand after docs/site-abi.md. The test
 * defines NAMES, LENGTH, VALUES and FLAGS of the record, and VALUE, ORIGIN and DATA of the verdict. */
#include <stdint.h>

struct verdict {
	uint8_t value, status, origin, reserved[5];
	uint64_t data;
	uint16_t evidence_length;
	char evidence[238];
};

__attribute__((visibility("hidden"))) struct verdict sealed = { VALUE, 2, ORIGIN, { 0 }, DATA, 4, "said" };
__attribute__((visibility("hidden"))) uint64_t outcome[4] = { 1 };
__attribute__((visibility("hidden"))) const char names[] = NAMES;

__attribute__((visibility("hidden"))) void probe(struct verdict *verdict) { verdict->origin = 1; }

#define TEXT_(it) #it
#define TEXT(it) TEXT_(it)

__asm__(".pushsection .rodata.records, \"a\", @progbits\n"
	".balign 4\n"
	"records: .long sealed - ., names - ., probe - .\n"
	".short " TEXT(LENGTH) "\n"
	".byte " TEXT(VALUES) ", " TEXT(FLAGS) "\n"
	"records_end:\n"
	".popsection\n"
	".pushsection .note.invar, \"a\", @note\n"
	".balign 4\n"
	".long 6, 24, 2\n"
	".asciz \"invar\"\n"
	".balign 4\n"
	".long records - ., records - ., records - ., records_end - ., outcome - ., 0\n"
	".popsection\n");

void tell_story(void) { }
