/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flood.c - sends IPv4 frames of one kind as fast as it can, or at a rate, until it is
 * ended; each from another random address of 198.18.0.0/15 and port.
 *
 * flood INTERFACE DESTINATION-MAC DESTINATION-ADDRESS KIND PORT PER-SECOND
 * KIND: syn, udp, fragments. PER-SECOND: 0 is no limit. SIGTERM: prints how many were
 * sent and ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64
#define FRAME 60

static volatile sig_atomic_t stopped;
static uint64_t state = 88172645463325252ULL;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static uint32_t chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 16;
}

static uint32_t add(const uint8_t *from, int bytes, uint32_t sum)
{
	for (int at = 0; at < bytes; at += 2)
		sum += from[at] << 8 | from[at + 1];
	return sum;
}

static void put(uint8_t *at, uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16)) & 0xffff;
	at[0] = sum >> 8;
	at[1] = sum;
}

/* Source address and port, identification and both checksums. */
static void vary(uint8_t *frame, char kind)
{
	uint8_t *ip = frame + 14, *l4 = ip + 20;
	uint32_t address = htonl(0xc6120000 | (chance() & 0x1ffff));
	uint16_t port = htons(1024 + chance() % 60000), id = chance();
	int bytes = kind == 's' ? 20 : 26;

	memcpy(ip + 12, &address, 4);
	memcpy(ip + 4, &id, 2);
	ip[10] = ip[11] = 0;
	put(ip + 10, add(ip, 20, 0));
	if (kind == 'f')
		return;
	memcpy(l4, &port, 2);
	if (kind == 's') {
		l4[16] = l4[17] = 0;
		put(l4 + 16, add(l4, bytes, add(ip + 12, 8, 6 + bytes)));
	}
}

int main(int count, char **words)
{
	static uint8_t frames[BATCH][FRAME];
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	struct timespec begun, now;
	unsigned long sent = 0, rate;
	unsigned int mac[6];
	char kind;
	int fd;

	if (count != 7 ||
	    sscanf(words[2], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3,
		   mac + 4, mac + 5) != 6)
		return 2;
	kind = words[4][0];
	rate = strtoul(words[6], NULL, 10);
	signal(SIGTERM, stop);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	to.sll_ifindex = if_nametoindex(words[1]);
	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)))
		return 1;
	for (int at = 0; at < BATCH; at++) {
		uint8_t *frame = frames[at], *ip = frame + 14, *l4 = ip + 20;
		uint16_t port = htons(atoi(words[5]));

		for (int byte = 0; byte < 6; byte++)
			frame[byte] = mac[byte];
		frame[6] = 2;
		frame[12] = 8;
		ip[0] = 0x45;
		ip[3] = kind == 's' ? 40 : 46;
		ip[6] = kind == 'f' ? 0x20 : 0;
		ip[7] = kind == 'f' ? 1 + at : 0;
		ip[8] = 64;
		ip[9] = kind == 's' ? 6 : 17;
		inet_pton(AF_INET, words[3], ip + 16);
		memcpy(l4 + 2, &port, 2);
		if (kind == 's') {
			l4[12] = 0x50;
			l4[13] = 2;
			l4[14] = 64;
		} else {
			l4[5] = 26;
		}
		parts[at] = (struct iovec){ frame, FRAME };
		messages[at].msg_hdr.msg_iov = parts + at;
		messages[at].msg_hdr.msg_iovlen = 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &begun);
	while (!stopped) {
		int done;

		for (int at = 0; at < BATCH; at++)
			vary(frames[at], kind);
		done = sendmmsg(fd, messages, BATCH, 0);
		if (done > 0)
			sent += done;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (rate && sent > rate * ((now.tv_sec - begun.tv_sec) +
					   (now.tv_nsec - begun.tv_nsec) / 1e9))
			nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	printf("%lu\n", sent);
	return 0;
}
