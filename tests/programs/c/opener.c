/* A program without keys, which opens libraries one after the other and has each tell its story. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	for (int at = 1; at < argc; at++) {
		void *library = dlopen(argv[at], RTLD_NOW), *story = library ? dlsym(library, "tell_story") : NULL;

		if (!story)
			return fprintf(stderr, "%s\n", dlerror()), 1;
		((void (*)(void))story)();
	}
	return 0;
}
