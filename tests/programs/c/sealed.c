/* A library with one key, which has been decided already by nobody knows whom: written by hand after docs/site-abi.md. The test
 * defines NAMES, LENGTH, VALUES and FLAGS of the record, and VALUE, ORIGIN, DATA and SETS of the verdict. */
#include <stdint.h>

#ifndef SETS
#define SETS 0
#endif

struct verdict {
	uint8_t value, status, origin, reserved;
	uint32_t sets;
	uint64_t data;
	uint16_t evidence_length;
	char evidence[238];
};

__attribute__((visibility("hidden"))) struct verdict sealed = { VALUE, 2, ORIGIN, 0, SETS, DATA, 4, "said" };
__attribute__((visibility("hidden"))) uint64_t outcome[5] = { 1 };
__attribute__((visibility("hidden"))) const char names[] = NAMES;
/* The header's first 20 bytes: magic, version, length, machine, flags. */
#define HEAD "0x89, 0x69, 0x6e, 0x76, 0x61, 0x72, 0x0d, 0x0a, 2, 0, 0, 0, 56, 0, 62, 0, 0, 0, 0, 0"

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
	".long 6, 8, 2\n"
	".asciz \"invar\"\n"
	".balign 4\n"
	".long header - ., 0\n"
	".popsection\n"
	".pushsection .data.rel.ro.header, \"aw\", @progbits\n"
	".balign 8\n"
	"header: .byte " HEAD "\n"
	".long records - ., records - ., records - ., records_end - ., outcome - .\n"
	".long 0, probe - .\n"
	".quad probe\n"
	".popsection\n");

void tell_story(void) { }
