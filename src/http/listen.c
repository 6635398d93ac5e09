/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "http/server.h"

#define BACKLOG 1024

bool address_is_loopback(const struct sockaddr *address)
{
	const struct in6_addr *six;

	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)address)
				 ->sin_addr.s_addr) >>
			   24 ==
		       127;
	if (address->sa_family != AF_INET6)
		return false;
	six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) ||
	       (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* Cuts "[HOST]:PORT" or "HOST:PORT" in two. */
static bool split(const char *text, char host[64], char port[8])
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	bool brackets = n >= 2 && text[0] == '[' && text[n - 1] == ']';

	if (brackets) {
		text++;
		n -= 2;
	}
	if (!colon || !n || n >= 64 || !colon[1] || strlen(colon + 1) > 5 ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return false;
	if (!brackets && memchr(text, ':', n))
		return false;
	(void)memcpy(host, text, n);
	host[n] = '\0';
	(void)strcpy(port, colon + 1);
	return true;
}

static int bind_to(const struct addrinfo *ai, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int one = 1;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (ai->ai_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int http_listen(const char *address, bool loopback_only, int *ret_fd,
		struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV |
					     AI_PASSIVE};
	struct addrinfo *ai = NULL;
	char host[64], port[8];
	int r;

	if (!split(address, host, port) || strtoul(port, NULL, 10) > 65535 ||
	    getaddrinfo(host, port, &hints, &ai) != 0)
		return err_set(err, -RP_EPARAM,
			       "'%s' is not an address and a port, as in "
			       "127.0.0.1:5986 or [::]:5986",
			       address);
	if (loopback_only && !address_is_loopback(ai->ai_addr)) {
		freeaddrinfo(ai);
		return err_set(err, -RP_EDENIED,
			       "'%s' is not a loopback address, and plain HTTP "
			       "is served on no other",
			       address);
	}
	r = bind_to(ai, ret_fd);
	freeaddrinfo(ai);
	return r < 0 ? err_set(err, r, "listen on '%s'", address) : 0;
}
