/* The tables of a module as the site ABI had them in its first version, by hand: one key, one site of it, note and outcome. Also
 * as C++. */
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct verdict {
	uint8_t value, status, bytes[254];
};

__attribute__((visibility("hidden"))) struct verdict first_state;
__attribute__((visibility("hidden"))) int first_probes;

__attribute__((visibility("hidden"), used)) void first_probe(struct verdict *verdict)
{
	first_probes++;
	verdict->value = 1;
}

__asm__(".pushsection .rodata\n"
	"first_names: .asciz \"first\", \"off\", \"on\"\n"
	"first_names_end:\n"
	".popsection\n"
	".pushsection invar_keys, \"aR\", @progbits\n"
	".balign 4\n"
	".long first_state - ., first_names - ., first_probe - .\n"
	".short first_names_end - first_names\n"
	".byte 2, 0\n"
	".popsection\n"
	".pushsection .bss.invar_outcome, \"aw\", @nobits\n"
	".balign 8\n"
	".weak invar_outcome\n"
	".hidden invar_outcome\n"
	".type invar_outcome, @object\n"
	".size invar_outcome, 32\n"
	"invar_outcome: .zero 32\n"
	".popsection\n"
	".weak __start_invar_sites, __stop_invar_sites, __start_invar_keys, __stop_invar_keys\n"
	".hidden __start_invar_sites, __stop_invar_sites, __start_invar_keys, __stop_invar_keys\n"
	".pushsection .note.invar, \"a\", @note\n"
	".balign 4\n"
	".long 6, 24, 1\n"
	".asciz \"invar\"\n"
	".balign 4\n"
	".long __start_invar_sites - ., __stop_invar_sites - ., __start_invar_keys - ., __stop_invar_keys - .\n"
	".long invar_outcome - ., 0\n"
	".popsection\n");

extern const uint8_t first_site[] __attribute__((visibility("hidden")));
extern const uint64_t first_outcome[4] __asm__("invar_outcome") __attribute__((visibility("hidden")));

/* Which parts of it are not as the linker left them: 0, as long as nobody knows this version. */
int WHERE(void)
{
	static const uint8_t compare[] = { 0x80, 0x3d };
	static const struct verdict blank = { 0, 0, { 0 } };
	int on = 0;

	__asm__ goto("first_site: .byte 0x80, 0x3d\n\t"
		     ".long first_state - . - 5\n\t"
		     ".byte 1\n\t"
		     "jne %l[off]\n"
		     "3:\n\t"
		     ".pushsection invar_sites, \"a\", @progbits\n\t"
		     ".balign 4\n\t"
		     ".long first_site - ., %l[off] - ., first_state - .\n\t"
		     ".byte 3b - first_site, 1, 1, 0\n\t"
		     ".popsection\n"
		     : : : "cc", "memory" : off);
	on = 1;
off:
	return on | (memcmp(first_site, compare, sizeof compare) != 0) << 1 |
	       (memcmp(&first_state, &blank, sizeof blank) != 0) << 2 | (first_probes != 0) << 3 |
	       (first_outcome[0] != 0 || first_outcome[1] != 0) << 4;
}

#ifdef __cplusplus
}
#endif
