/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/text.h"
#include "common/bytes.h"

#define CELLS     20u
#define SETTLE_MS 1000 /* before a rate means something */

static void format_bar(unsigned percent, char text[CELLS + 1])
{
	for (unsigned i = 0; i < CELLS; i++)
		text[i] = i * 100 < percent * CELLS ? '#' : '.';
	text[CELLS] = '\0';
}

/* ", 120.0 MiB/s, 0:12 left" */
static void format_rate(const struct progress *progress, uint64_t now_ms,
			uint64_t done, uint64_t total, char *text, size_t room)
{
	uint64_t ms = now_ms - progress->began_ms;
	uint64_t bytes = done - MIN(progress->began_at, done);
	char size[SIZE_TEXT_BYTES];
	uint64_t rate, left;

	text[0] = '\0';
	if (ms < SETTLE_MS)
		return;
	rate = (uint64_t)((double)bytes * 1000 / (double)ms);
	if (rate == 0) {
		(void)snprintf(text, room, "  waiting");
		return;
	}
	left = (total - done) / rate;
	if (left < 3600)
		(void)snprintf(text, room, "  %s/s  %u:%02u left",
			       text_size(rate, size), (unsigned)(left / 60),
			       (unsigned)(left % 60));
	else
		(void)snprintf(text, room, "  %s/s  %llu:%02u:%02u left",
			       text_size(rate, size),
			       (unsigned long long)(left / 3600),
			       (unsigned)(left / 60 % 60),
			       (unsigned)(left % 60));
}

void progress_format(struct progress *progress, uint64_t now_ms, uint64_t done,
		     uint64_t total, char ret_text[PROGRESS_BYTES])
{
	char bar[CELLS + 1], rate[64], a[SIZE_TEXT_BYTES], b[SIZE_TEXT_BYTES];
	unsigned percent;

	done = MIN(done, total);
	percent = total ? (unsigned)((double)done * 100 / (double)total) : 100;
	if (!progress->began_ms) {
		progress->began_ms = now_ms;
		progress->began_at = done;
	}
	format_bar(percent, bar);
	format_rate(progress, now_ms, done, total, rate, sizeof(rate));
	(void)snprintf(ret_text, PROGRESS_BYTES, "[%s] %3u%%  %s of %s%s", bar,
		       percent, text_size(done, a), text_size(total, b), rate);
}

void progress_show(struct progress *progress, uint64_t done, uint64_t total)
{
	char text[PROGRESS_BYTES];
	struct timespec ts;

	if (!isatty(STDERR_FILENO))
		return;
	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	progress_format(progress,
			(uint64_t)ts.tv_sec * 1000 +
			    (uint64_t)ts.tv_nsec / 1000000,
			done, total, text);
	(void)fprintf(stderr, "\r%s\033[K", text);
	(void)fflush(stderr);
	progress->shown = true;
}

void progress_end(struct progress *progress)
{
	if (progress->shown)
		(void)fputs("\r\033[K", stderr);
	progress->shown = false;
}
