/*
 * The rings of netif as Xen's own headers (libxen-dev) do them. Reads one command a line, does it with the macros of
 * xen/io/ring.h and prints one line: what the macro said, or for `dump` the whole page in hex.
 * test/protocol/oracle.test.ts does the same with our code and compares.
 *
 * In C since RING_COPY_REQUEST copies a volatile struct, which C++ has no copy constructor for.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without it xen-compat.h gives the names that these headers had in 2011. */
#define __XEN_INTERFACE_VERSION__ __XEN_LATEST_INTERFACE_VERSION__
#define xen_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xen_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)

#include <xen/xen.h>
#include <xen/io/netif.h>

enum { PAGE_BYTES = 4096, ARGS_MAX = 8 };

static union {
  uint32_t words[PAGE_BYTES / 4];
  netif_tx_sring_t tx;
  netif_rx_sring_t rx;
} page __attribute__((aligned(PAGE_BYTES)));

struct command {
  char name[32];
  int count;
  uint32_t args[ARGS_MAX];
};

static void fail(const char *why, const char *what) {
  fprintf(stderr, "ring_oracle: %s: %s\n", why, what);
  exit(1);
}

static void print_page(void) {
  static const char digits[] = "0123456789abcdef";
  char text[2 * PAGE_BYTES];
  for (size_t i = 0; i < PAGE_BYTES; i++) {
    const unsigned char byte = ((const unsigned char *)&page)[i];
    text[2 * i] = digits[byte >> 4];
    text[2 * i + 1] = digits[byte & 15];
  }
  fwrite(text, 1, sizeof(text), stdout);
}

static void print_words(const void *from, size_t bytes) {
  uint32_t words[4];
  memcpy(words, from, bytes);
  for (size_t i = 0; i < bytes / 4; i++) printf(" %" PRIu32, words[i]);
}

/*
 * The macros take the ring's type by its fields, so what follows is the same text for either ring.
 * The commands return 0 when they do not know the name.
 */
#define DEFINE_RING_ORACLE(kind)                                                            \
  static netif_##kind##_front_ring_t kind##_front;                                          \
  static netif_##kind##_back_ring_t kind##_back;                                            \
                                                                                            \
  static void kind##_init(uint32_t index) {                                                 \
    memset(&page, 0, sizeof(page));                                                         \
    SHARED_RING_INIT(&page.kind);                                                           \
    page.kind.req_prod = page.kind.rsp_prod = index;                                        \
    page.kind.req_event = page.kind.rsp_event = index + 1;                                  \
    FRONT_RING_ATTACH(&kind##_front, &page.kind, index, PAGE_BYTES);                        \
    BACK_RING_ATTACH(&kind##_back, &page.kind, page.kind.rsp_prod, PAGE_BYTES);             \
  }                                                                                         \
                                                                                            \
  static void kind##_copy_requests(uint32_t count) {                                        \
    netif_##kind##_request_t copy;                                                          \
    for (uint32_t i = 0; i < count; i++) {                                                  \
      RING_COPY_REQUEST(&kind##_back, kind##_back.req_cons + i, &copy);                     \
      print_words(&copy, sizeof(copy));                                                     \
    }                                                                                       \
  }                                                                                         \
                                                                                            \
  static void kind##_take_responses(uint32_t count) {                                       \
    netif_##kind##_response_t copy;                                                         \
    for (uint32_t i = 0; i < count; i++) {                                                  \
      RING_COPY_RESPONSE(&kind##_front, kind##_front.rsp_cons, &copy);                      \
      kind##_front.rsp_cons++;                                                              \
      print_words(&copy, sizeof(copy));                                                     \
    }                                                                                       \
  }                                                                                         \
                                                                                            \
  static int kind##_front_command(const struct command *c) {                                \
    int result = 0;                                                                         \
    if (strcmp(c->name, "request") == 0) {                                                  \
      memcpy(RING_GET_REQUEST(&kind##_front, kind##_front.req_prod_pvt), c->args,           \
             sizeof(netif_##kind##_request_t));                                             \
      kind##_front.req_prod_pvt++;                                                          \
    } else if (strcmp(c->name, "push") == 0) {                                              \
      RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&kind##_front, result);                           \
    } else if (strcmp(c->name, "free") == 0) {                                              \
      result = (int)RING_FREE_REQUESTS(&kind##_front);                                      \
    } else if (strcmp(c->name, "responses") == 0) {                                         \
      result = (int)RING_HAS_UNCONSUMED_RESPONSES(&kind##_front);                           \
    } else if (strcmp(c->name, "take-responses") == 0) {                                    \
      printf("%" PRIu32, c->args[0]);                                                       \
      kind##_take_responses(c->args[0]);                                                    \
      return 1;                                                                             \
    } else if (strcmp(c->name, "final-responses") == 0) {                                   \
      RING_FINAL_CHECK_FOR_RESPONSES(&kind##_front, result);                                \
    } else {                                                                                \
      return 0;                                                                             \
    }                                                                                       \
    printf("%d", result);                                                                   \
    return 1;                                                                               \
  }                                                                                         \
                                                                                            \
  static int kind##_back_command(const struct command *c) {                                 \
    int result = 0;                                                                         \
    if (strcmp(c->name, "attach") == 0) {                                                   \
      BACK_RING_ATTACH(&kind##_back, &page.kind, page.kind.rsp_prod, PAGE_BYTES);           \
      result = !RING_REQUEST_PROD_OVERFLOW(&kind##_back, page.kind.req_prod);               \
    } else if (strcmp(c->name, "waiting") == 0) {                                           \
      result = RING_REQUEST_PROD_OVERFLOW(&kind##_back, page.kind.req_prod)                 \
                   ? -1                                                                     \
                   : (int)RING_HAS_UNCONSUMED_REQUESTS(&kind##_back);                       \
    } else if (strcmp(c->name, "copy") == 0) {                                              \
      printf("%" PRIu32, c->args[0]);                                                       \
      kind##_copy_requests(c->args[0]);                                                     \
      return 1;                                                                             \
    } else if (strcmp(c->name, "take") == 0) {                                              \
      kind##_back.req_cons += c->args[0];                                                   \
    } else if (strcmp(c->name, "respond") == 0) {                                           \
      memcpy(RING_GET_RESPONSE(&kind##_back, kind##_back.rsp_prod_pvt), c->args,            \
             sizeof(netif_##kind##_response_t));                                            \
      kind##_back.rsp_prod_pvt++;                                                           \
    } else if (strcmp(c->name, "publish") == 0) {                                           \
      RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&kind##_back, result);                           \
    } else if (strcmp(c->name, "final") == 0) {                                             \
      RING_FINAL_CHECK_FOR_REQUESTS(&kind##_back, result);                                  \
    } else {                                                                                \
      return 0;                                                                             \
    }                                                                                       \
    printf("%d", result);                                                                   \
    return 1;                                                                               \
  }

DEFINE_RING_ORACLE(tx)
DEFINE_RING_ORACLE(rx)

#define SIZE(type) printf("sizeof(" #type ")=%zu;", sizeof(type))
#define OFFSET(type, field) printf(#type "." #field "=%zu;", offsetof(type, field))
#define VALUE(name) printf(#name "=%d;", (int)(name))

static void print_structs(void) {
  SIZE(struct netif_tx_request);
  OFFSET(struct netif_tx_request, gref);
  OFFSET(struct netif_tx_request, offset);
  OFFSET(struct netif_tx_request, flags);
  OFFSET(struct netif_tx_request, id);
  OFFSET(struct netif_tx_request, size);
  SIZE(struct netif_tx_response);
  OFFSET(struct netif_tx_response, id);
  OFFSET(struct netif_tx_response, status);
  SIZE(struct netif_rx_request);
  OFFSET(struct netif_rx_request, id);
  OFFSET(struct netif_rx_request, gref);
  SIZE(struct netif_rx_response);
  OFFSET(struct netif_rx_response, id);
  OFFSET(struct netif_rx_response, offset);
  OFFSET(struct netif_rx_response, flags);
  OFFSET(struct netif_rx_response, status);
  SIZE(struct netif_extra_info);
  OFFSET(struct netif_extra_info, type);
  OFFSET(struct netif_extra_info, flags);
  OFFSET(struct netif_extra_info, u.gso.size);
  OFFSET(struct netif_extra_info, u.gso.type);
  OFFSET(struct netif_extra_info, u.gso.features);
  OFFSET(struct netif_extra_info, u.mcast.addr);
  OFFSET(struct netif_extra_info, u.hash.type);
  OFFSET(struct netif_extra_info, u.hash.algorithm);
  OFFSET(struct netif_extra_info, u.hash.value);
  SIZE(struct xen_netif_ctrl_request);
  OFFSET(struct xen_netif_ctrl_request, type);
  OFFSET(struct xen_netif_ctrl_request, data);
  SIZE(struct xen_netif_ctrl_response);
  OFFSET(struct xen_netif_ctrl_response, status);
  OFFSET(struct xen_netif_ctrl_response, data);
  SIZE(struct xen_netif_gref);
  OFFSET(struct xen_netif_gref, flags);
  OFFSET(struct xen_netif_gref, status);
}

static void print_rings(void) {
  SIZE(union netif_tx_sring_entry);
  SIZE(union netif_rx_sring_entry);
  OFFSET(struct netif_tx_sring, req_prod);
  OFFSET(struct netif_tx_sring, req_event);
  OFFSET(struct netif_tx_sring, rsp_prod);
  OFFSET(struct netif_tx_sring, rsp_event);
  OFFSET(struct netif_tx_sring, ring);
  OFFSET(struct netif_rx_sring, ring);
  printf("tx_ring_size=%u;", (unsigned)__RING_SIZE(&page.tx, PAGE_BYTES));
  printf("rx_ring_size=%u;", (unsigned)__RING_SIZE(&page.rx, PAGE_BYTES));
  SIZE(union xen_netif_ctrl_sring_entry);
  OFFSET(struct xen_netif_ctrl_sring, ring);
  printf("ctrl_ring_size=%u;",
         (unsigned)__RING_SIZE((struct xen_netif_ctrl_sring *)&page, PAGE_BYTES));
}

static void print_values(void) {
  VALUE(NETTXF_csum_blank);
  VALUE(NETTXF_data_validated);
  VALUE(NETTXF_more_data);
  VALUE(NETTXF_extra_info);
  VALUE(NETRXF_data_validated);
  VALUE(NETRXF_csum_blank);
  VALUE(NETRXF_more_data);
  VALUE(NETRXF_extra_info);
  VALUE(NETIF_RSP_DROPPED);
  VALUE(NETIF_RSP_ERROR);
  VALUE(NETIF_RSP_OKAY);
  VALUE(NETIF_RSP_NULL);
  VALUE(XEN_NETIF_EXTRA_TYPE_GSO);
  VALUE(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
  VALUE(XEN_NETIF_EXTRA_TYPE_MCAST_DEL);
  VALUE(XEN_NETIF_EXTRA_TYPE_HASH);
  VALUE(XEN_NETIF_EXTRA_FLAG_MORE);
  VALUE(XEN_NETIF_GSO_TYPE_NONE);
  VALUE(XEN_NETIF_GSO_TYPE_TCPV4);
  VALUE(XEN_NETIF_GSO_TYPE_TCPV6);
  VALUE(XEN_NETIF_NR_SLOTS_MIN);
  VALUE(XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS);
  VALUE(XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS);
  VALUE(XEN_NETIF_CTRL_TYPE_SET_HASH_KEY);
  VALUE(XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE);
  VALUE(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE);
  VALUE(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING);
  VALUE(XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM);
  VALUE(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE);
  VALUE(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING);
  VALUE(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING);
  VALUE(XEN_NETIF_CTRL_STATUS_SUCCESS);
  VALUE(XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED);
  VALUE(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  VALUE(XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW);
  VALUE(XEN_NETIF_CTRL_HASH_ALGORITHM_NONE);
  VALUE(XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ);
  VALUE(XEN_NETIF_CTRL_HASH_TYPE_IPV4);
  VALUE(XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP);
  VALUE(XEN_NETIF_CTRL_HASH_TYPE_IPV6);
  VALUE(XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP);
}

/* These print "name=value;" again and again. */
static int layout_command(const struct command *c) {
  if (strcmp(c->name, "structs") == 0) print_structs();
  else if (strcmp(c->name, "rings") == 0) print_rings();
  else if (strcmp(c->name, "values") == 0) print_values();
  else return 0;
  return 1;
}

static int wire_command(const struct command *c) {
  if (strcmp(c->name, "encode-tx") == 0) {
    netif_tx_request_t request = {c->args[0], (uint16_t)c->args[1], (uint16_t)c->args[2], (uint16_t)c->args[3],
                                  (uint16_t)c->args[4]};
    print_words(&request, sizeof(request));
  } else if (strcmp(c->name, "encode-gso") == 0) {
    netif_tx_request_t slot = {0, 0, 0, 0, 0};
    netif_extra_info_t extra;
    memset(&extra, 0, sizeof(extra));
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.u.gso.size = (uint16_t)c->args[0];
    extra.u.gso.type = (uint8_t)c->args[1];
    memcpy(&slot, &extra, sizeof(extra));
    print_words(&slot, sizeof(slot));
  } else if (strcmp(c->name, "decode-tx") == 0) {
    netif_tx_response_t response;
    memcpy(&response, c->args, sizeof(response));
    printf(" %d %d", response.id, response.status);
  } else if (strcmp(c->name, "decode-rx") == 0) {
    netif_rx_response_t response;
    memcpy(&response, c->args, sizeof(response));
    printf(" %d %d %d %d", response.id, response.offset, response.flags, response.status);
  } else if (strcmp(c->name, "decode-gso") == 0) {
    netif_extra_info_t extra;
    memcpy(&extra, c->args, sizeof(extra));
    printf(" %d %d %d %d %d %d", extra.type, extra.flags, extra.u.gso.size, extra.u.gso.type, extra.u.gso.pad,
           extra.u.gso.features);
  } else {
    return 0;
  }
  return 1;
}

static int page_command(const struct command *c, int *is_rx) {
  if (strcmp(c->name, "init-tx") == 0 || strcmp(c->name, "init-rx") == 0) {
    *is_rx = c->name[5] == 'r';
    if (*is_rx) rx_init(c->args[0]);
    else tx_init(c->args[0]);
  } else if (strcmp(c->name, "poke") == 0) {
    page.words[c->args[0] % (PAGE_BYTES / 4)] = c->args[1];
  } else if (strcmp(c->name, "dump") == 0) {
    print_page();
  } else {
    return 0;
  }
  return 1;
}

static struct command parse(char *line) {
  struct command c = {.count = 0};
  char *rest = NULL;
  char *word = strtok_r(line, " \n", &rest);
  if (word != NULL) snprintf(c.name, sizeof(c.name), "%s", word);
  while ((word = strtok_r(NULL, " \n", &rest)) != NULL) {
    if (c.count == ARGS_MAX) fail("too many arguments", c.name);
    c.args[c.count++] = (uint32_t)strtoul(word, NULL, 10);
  }
  return c;
}

int main(void) {
  static char line[256];
  int is_rx = 0;
  while (fgets(line, sizeof(line), stdin) != NULL) {
    const struct command c = parse(line);
    const int known = page_command(&c, &is_rx) || layout_command(&c) || wire_command(&c) ||
                      (is_rx ? rx_front_command(&c) || rx_back_command(&c)
                             : tx_front_command(&c) || tx_back_command(&c));
    if (!known) fail("unknown command", c.name);
    putchar('\n');
  }
  return 0;
}
