/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* clock.c - preloaded into an agent: its wall clock is off by as many seconds as a
 * file says at that moment. The monotonic clock stays as it is, as with a real jump.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t offset(void)
{
	const char *path = getenv("WALL_CLOCK_OFFSET");
	FILE *file = path ? fopen(path, "re") : NULL;
	long long seconds = 0;

	if (file) {
		if (fscanf(file, "%lld", &seconds) != 1)
			seconds = 0;
		fclose(file);
	}
	return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *when)
{
	static int (*real)(clockid_t, struct timespec *);
	int failed;

	if (!real)
		real = dlsym(RTLD_NEXT, "clock_gettime");
	failed = real(clock, when);
	if (!failed && clock == CLOCK_REALTIME)
		when->tv_sec += offset();
	return failed;
}

time_t time(time_t *when)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (when)
		*when = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *when, void *zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	when->tv_sec = now.tv_sec;
	when->tv_usec = now.tv_nsec / 1000;
	return 0;
}
