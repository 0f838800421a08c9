/* A client of the decoder service in C11 and sockets alone, written from docs/protocol.md,
 * for little-endian machines.
 *
 *     cc -std=c11 -O2 -o client client.c
 *     ./client qecpipe.sock circuit.stim $(sha256sum < circuit.stim | cut -c 1-64) 5 shots.b8 3
 *
 * opens the circuit with commit = buffer = 5, sends the measurements of shots.b8 (as `stim sample
 * --out_format b8` writes them) in blocks of at most 3 rounds, and prints every COMMIT and RESULT:
 *
 *     RESULT shot=0 upto=6 flips=00 observables=01
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { HELLO = 1, OPEN, OPENED, ROUNDS, FINAL, COMMIT, RESULT, CREDIT, NACK };
enum { ERROR_ = 12, CLOSE = 15, UPLOAD, MOST_ROUNDS = 1 << 16, PART = 100000 };

static FILE *to_server, *from_server;
static uint64_t rounds, window, starts[MOST_ROUNDS + 2]; /* of the rows of a shot: their first measurement */
static struct header { /* "Frames" */
    uint8_t magic[2], version, type;
    uint32_t stream, epoch, length;
    uint64_t sequence;
    uint32_t payload_crc;
    uint16_t flags, check;
} head;                                      /* of the frame that came last */
static _Alignas(8) uint8_t payload[1 << 18]; /* and its payload; of COMMIT and RESULT: */
struct output { uint64_t upto_round, after, arrival, end, model; uint32_t observables; uint8_t bits[]; };

static void need(int holds, const char* or_say) {
    if (!holds) fprintf(stderr, "%s\n", or_say), exit(1);
}

static uint32_t crc32(const void* data, size_t size) {
    uint32_t crc = ~0u;
    for (const uint8_t* at = data; size--; at++)
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ ((crc ^ *at >> bit) & 1 ? 0xEDB88320u : 0);
    return ~crc;
}

static void send_frame(int type, uint64_t epoch, uint64_t sequence, const void* data, size_t length) {
    struct header h = {{'Q', 'D'}, 2, (uint8_t)type, 0, (uint32_t)epoch, (uint32_t)length, sequence, 0, 0, 0};
    h.payload_crc = crc32(data, length), h.check = (uint16_t)crc32(&h, 30);
    need(fwrite(&h, 32, 1, to_server) && fwrite(data, 1, length, to_server) == length && !fflush(to_server),
         "the server is gone");
}

static void read_frame(void) {
    need(fread(&head, 32, 1, from_server) == 1, "the server closed the connection");
    need(!memcmp(&head, "QD\2", 3) && head.check == (uint16_t)crc32(&head, 30), "that is no frame");
    need(head.length < sizeof payload && fread(payload, 1, head.length, from_server) == head.length &&
         crc32(payload, head.length) == head.payload_crc, "a payload is too long, cut short or damaged");
    payload[head.length] = 0;
    need(head.type != ERROR_, (char*)payload);
}

static void await(int type) { do read_frame(); while (head.type != type); }

/* "Messages": reads a number, or the size of a list, map or text; the place after it, and after the text. */
static const uint8_t* item(const uint8_t* at, uint64_t* value) {
    int kind = *at++, text = (kind >= 0xA0 && kind < 0xC0) || kind == 0xD9;
    int bytes = kind >= 0xCC && kind < 0xD0 ? 1 << (kind - 0xCC) : kind == 0xD9 ? 1 : kind == 0xDC ? 2 : 0;
    need(kind < 0xC4 || bytes, "a message has something unexpected");
    *value = bytes ? 0 : (uint64_t)(kind < 0x80 ? kind : text ? kind & 31 : kind & 15);
    while (bytes--) *value = *value << 8 | *at++;
    return text ? at + *value : at;
}

/* Opens the stream; OPENED says how many bits its rows have ("Shots"). */
static void open_stream(const char* digest, int commit) {
    char open[200];
    int size = sprintf(open, "\x83\xA5model\xD9\x40%s\xA6" "commit%c\xA6" "buffer%c", digest, commit, commit);
    send_frame(OPEN, 0, 0, open, (size_t)size), await(OPENED);
    uint64_t keys, value, count, width, final_bits = 0;
    for (const uint8_t *at = item(payload, &keys), *key; keys--;) {
        at = item(item(key = at, &value), &value);
        if (!memcmp(key, "\xAA" "final_bits", 11)) final_bits = value;
        if (!memcmp(key, "\xA6window", 7)) window = value;
        if (memcmp(key, "\xA6layers", 7)) continue;
        for (uint64_t runs = value; runs--;) /* of rounds of the same width */
            for (at = item(item(item(at, &value), &count), &width); count--; rounds++)
                if (rounds < MOST_ROUNDS) starts[rounds + 1] = starts[rounds] + width;
    }
    need(rounds <= MOST_ROUNDS, "a shot has too many rounds");
    starts[rounds + 1] = starts[rounds] + final_bits;
}

/* "Blocks": sends `count` rows of a shot, whose measurements are packed without gaps, from `row` on. */
static void send_rows(const uint8_t* shot, uint64_t epoch, uint64_t row, uint64_t count) {
    uint8_t block[1 << 16] = {(uint8_t)count, (uint8_t)(count >> 8)}, *at = block + 2;
    for (uint64_t r = row; r < row + count; at += (starts[r + 1] - starts[r] + 7) / 8, r++)
        for (uint64_t k = 0, bit = starts[r]; bit < starts[r + 1]; k++, bit++)
            at[k / 8] |= (uint8_t)((shot[bit / 8] >> bit % 8 & 1) << k % 8);
    send_frame(row + count > rounds ? FINAL : ROUNDS, epoch, row, block, (size_t)(at - block));
}

static void print_output(const struct output* output) {
    printf("%s shot=%u ", head.type == RESULT ? "RESULT" : "COMMIT", (unsigned)head.epoch);
    printf("upto=%llu flips=", (unsigned long long)output->upto_round);
    for (uint32_t k = 0, size = (output->observables + 7) / 8; k < head.length - 44; k++)
        printf("%s%02x", k == size ? " observables=" : "", output->bits[k]);
    if (head.flags) printf(" flags=%d", head.flags);
    printf("\n");
}

static uint8_t* read_file(const char* path, size_t* size) {
    FILE* file = fopen(path, "rb");
    need(file && !fseek(file, 0, SEEK_END), path);
    uint8_t* data = malloc((*size = (size_t)ftell(file)) + 1);
    rewind(file);
    need(data && fread(data, 1, *size, file) == *size && !fclose(file), path);
    return data;
}

static void upload(const uint8_t* model, size_t size, const char* digest) {
    static struct { uint8_t digest[32]; uint64_t total, offset; uint8_t part[PART]; } up;
    for (int k = 0; k < 32; k++) sscanf(digest + 2 * k, "%2hhx", &up.digest[k]);
    for (size_t bytes; up.total = size, up.offset < size; up.offset += bytes) {
        bytes = size - up.offset < PART ? size - up.offset : PART;
        memcpy(up.part, model + up.offset, bytes), send_frame(UPLOAD, 0, 0, &up, 48 + bytes);
    }
    await(UPLOAD);
}

int main(int argc, char** argv) {
    need(argc == 7 && strlen(argv[3]) == 64, "client SOCKET CIRCUIT SHA256 COMMIT SHOTS.b8 ROWS");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    need(!connect(sock, (struct sockaddr*)&address, sizeof address), "no service listens there");
    to_server = fdopen(sock, "wb"), from_server = fdopen(sock, "rb");
    char hello[64] = "\x81\xA7session\xD9\x20"; /* 32 digits follow */
    FILE* source = fopen("/dev/urandom", "rb");
    for (int k = 0; k < 16; k++) sprintf(hello + 11 + 2 * k, "%02x", (unsigned)getc(source));
    send_frame(HELLO, 0, 0, hello, 43), await(HELLO);
    size_t size;
    const uint8_t* model = read_file(argv[2], &size);
    upload(model, size, argv[3]), open_stream(argv[3], atoi(argv[4]));

    const uint8_t* shots = read_file(argv[5], &size);
    uint64_t rows = rounds + 1, shot_bytes = (starts[rows] + 7) / 8, most = strtoull(argv[6], NULL, 10);
    /* Places in the stream: row `sequence` of shot `epoch` is number epoch * rows + sequence. */
    for (uint64_t next = 0, known = 0, total = size / shot_bytes * rows; known < total;) {
        for (uint64_t count; next < total && next < known + window; next += count) {
            count = rows - next % rows < most ? rows - next % rows : most;
            if (count > known + window - next) count = known + window - next;
            send_rows(shots + next / rows * shot_bytes, next / rows, next % rows, count);
        }
        read_frame();
        uint64_t place = head.epoch * rows + head.sequence, missing = 0;
        if (head.type == COMMIT || head.type == RESULT) print_output((const struct output*)payload);
        if (head.type == RESULT) known = (head.epoch + 1) * rows;
        if (head.type == CREDIT && place > known) known = place;
        if (head.type == NACK) memcpy(&missing, payload, 8);
        for (; missing--; place++)
            send_rows(shots + place / rows * shot_bytes, place / rows, place % rows, 1);
    }
    send_frame(CLOSE, 0, 0, "\x80", 1), await(CLOSE);
    return 0;
}
