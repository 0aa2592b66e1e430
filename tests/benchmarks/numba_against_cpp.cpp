// One event-driven layer as trainables/kernels/cpu/compiled/forward.py has it, in plain C++ for one thread: what a compiler for
// C++ makes of the same algorithm. Neurons come in lane groups (here: blocks) of 32 channels, one word of bits each; borders are
// one pixel wide.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

constexpr int kLanes = 32, kWindow = 3, kMostSteps = 8, kOverrun = 16;
#ifdef __AVX512F__
constexpr int kWidth = 16;  // floats of a register
#else
constexpr int kWidth = 8;
#endif
constexpr int kRegisters = kLanes / kWidth;
constexpr float kWorthIt = 0.8f;

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef float UnalignedFloats __attribute__((vector_size(4 * kWidth), aligned(4)));
typedef int32_t Eight __attribute__((vector_size(32), aligned(4)));

struct Row {
    Floats part[kRegisters];
};

inline Row load(const float* from) {
    Row row;
    for (int r = 0; r < kRegisters; ++r) row.part[r] = *reinterpret_cast<const UnalignedFloats*>(from + r * kWidth);
    return row;
}

inline void store(const Row& row, float* into) {
    for (int r = 0; r < kRegisters; ++r) *reinterpret_cast<UnalignedFloats*>(into + r * kWidth) = row.part[r];
}

inline uint32_t bits_of(const Floats& a, const Floats& b) {  // of a >= b
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)(a >= b));
#else
    uint32_t bits = 0;
    for (int i = 0; i < kWidth; ++i) bits |= uint32_t(a[i] >= b[i]) << i;
    return bits;
#endif
}

struct Table {
    uint8_t bits[256][8] = {};
    Table() {
        for (int byte = 0; byte < 256; ++byte)
            for (int bit = 0, n = 0; bit < 8; ++bit)
                if (byte >> bit & 1) bits[byte][n++] = bit;
    }
} const table;

inline Eight widened(const uint8_t* bytes) {
#ifdef __AVX2__  // what GCC makes of __builtin_convertvector takes eight loads
    return (Eight)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
#else
    Eight wide;
    for (int i = 0; i < 8; ++i) wide[i] = bytes[i];
    return wide;
#endif
}

// Writes first plus the number of every bit, and up to 8 of any value.
inline int list_bits(uint32_t word, int32_t first, int32_t* into) {
    int n = 0;
    for (int byte = 0; byte < 4; ++byte) {
        const uint8_t value = word >> (8 * byte);
        *reinterpret_cast<Eight*>(into + n) = widened(table.bits[value]) + (first + 8 * byte);
        n += __builtin_popcount(value);
    }
    return n;
}

struct Layer {
    const uint32_t* inputs;  // [T, height + 2, width + 2, words]
    int time_steps, height, width, words, channels, blocks;
    const float *rows, *bias, *threshold;  // [blocks, 3 * channels, 3, 32]; [blocks, 32]
    float* potential;                      // [blocks, width * height, 32]
    uint32_t *spikes, *mask;               // [T, height + 2 * border, width + 2 * border, blocks]; [blocks]
    int border;

    int map_words() const { return (height + 2) * (width + 2) * words; }
    const uint32_t* map(int t) const { return inputs + int64_t(t) * map_words(); }
};

bool changes_are_fewer(const Layer& layer, int first, int last) {
    int64_t spikes = 0, changes = 0;
    for (int t = first + 1; t < last; ++t) {
        const uint32_t *before = layer.map(t - 1), *now = layer.map(t);
        for (int place = 0; place < layer.map_words(); ++place) {
            spikes += __builtin_popcount(now[place]);
            changes += __builtin_popcount(now[place] ^ before[place]);
        }
    }
    return changes < kWorthIt * spikes;
}

struct Lists {  // of the rows of every step: x * channels + c, and where those of every pixel begin
    std::vector<int32_t> events, pointers;
    int64_t most_events, num_pointers;

    explicit Lists(const Layer& layer) {
        most_events = int64_t(layer.height) * layer.width * layer.channels + kOverrun;
        num_pointers = int64_t(layer.height + 2) * (layer.width + 3);
        events.resize(kMostSteps * most_events);
        pointers.resize(kMostSteps * num_pointers);
    }
};

// All spikes of the steps; by changes, those that begin, and in ending those that end.
__attribute__((noinline)) void list_rows(const Layer& layer, int first, int last, bool by_changes, Lists& beginning, Lists& ending) {
    for (int t = first; t < last; ++t) {
        const uint32_t *now = layer.map(t), *before = by_changes && t > first ? layer.map(t - 1) : nullptr;
        int32_t n = 0, n_ending = 0;
        int32_t* into = beginning.events.data() + (t - first) * beginning.most_events;
        int32_t* into_ending = ending.events.data() + (t - first) * ending.most_events;
        int32_t* pointer = beginning.pointers.data() + (t - first) * beginning.num_pointers;
        int32_t* ending_pointer = ending.pointers.data() + (t - first) * ending.num_pointers;
        for (int y = 0; y < layer.height + 2; ++y) {
            for (int x = 0; x < layer.width + 2; ++x) {
                *pointer++ = n;
                *ending_pointer++ = n_ending;
                for (int w = 0; w < layer.words; ++w, ++now) {
                    const int32_t number = x * layer.channels + w * kLanes;
                    uint32_t word = *now;
                    if (before) {
                        const uint32_t earlier = *before++;
                        n_ending += list_bits(earlier & ~word, number, into_ending + n_ending);
                        word &= ~earlier;
                    }
                    n += list_bits(word, number, into + n);
                }
            }
            *pointer++ = n;
            *ending_pointer++ = n_ending;
        }
    }
}

inline void add(Row& sum, const float* row) {
#pragma GCC unroll 4
    for (int r = 0; r < kRegisters; ++r) sum.part[r] += *reinterpret_cast<const UnalignedFloats*>(row + r * kWidth);
}

inline void subtract(Row& sum, const float* row) {
#pragma GCC unroll 4
    for (int r = 0; r < kRegisters; ++r) sum.part[r] -= *reinterpret_cast<const UnalignedFloats*>(row + r * kWidth);
}

// Adds the three rows of every event to three sums, and subtracts those of the events that end.
inline void add_taps(Row& a, Row& b, Row& c, const float* rows, const int32_t* event, const int32_t* last, const int32_t* ending,
                     const int32_t* last_ending) {
    for (; event < last; ++event) {
        const float* row = rows + int64_t(*event) * kWindow * kLanes;
        add(a, row);
        add(b, row + kLanes);
        add(c, row + 2 * kLanes);
    }
    for (; ending < last_ending; ++ending) {
        const float* row = rows + int64_t(*ending) * kWindow * kLanes;
        subtract(a, row);
        subtract(b, row + kLanes);
        subtract(c, row + 2 * kLanes);
    }
}

// Clamp, integrate, fire, reset softly; spikes and the clamp's mask as bits.
inline void fire(const Row& drive, float* potential, const Row& threshold, uint32_t* spikes, uint32_t* mask) {
    const Floats zero = {}, one = zero + 1.0f;
    Row v = load(potential);
    uint32_t fired = 0, outside = 0;
    for (int r = 0; r < kRegisters; ++r) {
        const Floats d = drive.part[r], theta = threshold.part[r];
        outside |= (bits_of(zero, d) | bits_of(d, one)) << (r * kWidth);
        const Floats positive = d > zero ? d : zero, clamped = positive < one ? positive : one;
        const Floats u = v.part[r] + clamped, after = u - theta;
        fired |= bits_of(u, theta) << (r * kWidth);
        v.part[r] = u >= theta ? after : u;
    }
    store(v, potential);
    *spikes = fired;
    *mask = ~outside;
}

// One block of channels of a column, at all steps; drives are those of its rows, [height, 32].
__attribute__((noinline)) void fire_column(const Layer& layer, const Lists& now, const Lists& ending, bool by_changes, int first_step,
                                           int steps, int b, int x, float* drives) {
    const int out_width = layer.width + 2 * layer.border, stride = layer.width + 3;
    const int64_t out_step = int64_t(layer.height + 2 * layer.border) * out_width * layer.blocks;
    const Row bias = load(layer.bias + b * kLanes), threshold = load(layer.threshold + b * kLanes), nothing = {};
    const float* rows = layer.rows + (int64_t(b) * kWindow * layer.channels - int64_t(x) * layer.channels) * kWindow * kLanes;
    for (int t = 0; t < steps; ++t) {
        const int32_t *events = now.events.data() + t * now.most_events, *gone = ending.events.data() + t * ending.most_events;
        const int32_t* pointer = now.pointers.data() + t * now.num_pointers + x;
        const int32_t* ending_pointer = ending.pointers.data() + t * ending.num_pointers + x;
        float* potential = layer.potential + (int64_t(b) * layer.width + x) * layer.height * kLanes;
        uint32_t* spikes = layer.spikes + (first_step + t) * out_step;
        spikes += (int64_t(layer.border) * out_width + x + layer.border) * layer.blocks + b;
        Row above = nothing, here = nothing, below = nothing;
        for (int y = 1; y < layer.height + 2; ++y) {
            pointer += stride;
            ending_pointer += stride;
            add_taps(above, here, below, rows, events + pointer[0], events + pointer[kWindow], gone + ending_pointer[0],
                     gone + ending_pointer[kWindow]);
            if (y > 1) {
                float* kept = drives + int64_t(y - 2) * kLanes;
                Row drive = by_changes && t ? load(kept) : bias;
                for (int r = 0; r < kRegisters; ++r) drive.part[r] += above.part[r];
                store(drive, kept);
                fire(drive, potential, threshold, spikes, layer.mask + b);
                potential += kLanes;
                spikes += int64_t(out_width) * layer.blocks;
            }
            above = here;
            here = below;
            below = nothing;
        }
    }
}

}  // namespace

extern "C" void spiking_layer(const uint32_t* inputs, int64_t num_images, int64_t time_steps, int64_t height, int64_t width,
                              int64_t words, int64_t channels, int64_t blocks, const float* rows, const float* bias,
                              const float* threshold, const float* start, float* potential, uint32_t* spikes, int64_t border,
                              uint32_t* mask) {
    Layer layer{inputs,     int(time_steps), int(height), int(width), int(words),  int(channels), int(blocks),
                rows,       bias,            threshold,   potential,  spikes,      mask,          int(border)};
    static Lists* kept[2] = {};  // as the other side keeps its lists from call to call
    static std::vector<float> drives;
    static int64_t kept_size = 0;
    const int64_t size = (int64_t(height) << 40) + (int64_t(width) << 20) + channels;
    if (size != kept_size) {
        for (Lists*& lists : kept) {
            delete lists;
            lists = new Lists(layer);
        }
        kept_size = size;
    }
    for (int64_t image = 0; image < num_images; ++image) {
        for (int64_t b = 0; b < blocks; ++b)
            for (int64_t pixel = 0; pixel < height * width; ++pixel)
                std::memcpy(potential + (b * height * width + pixel) * kLanes, start + b * kLanes, sizeof(float) * kLanes);
        drives.resize(height * kLanes);
        for (int first = 0; first < time_steps; first += kMostSteps) {
            const int last = std::min<int>(first + kMostSteps, time_steps);
            const bool by_changes = changes_are_fewer(layer, first, last);
            list_rows(layer, first, last, by_changes, *kept[0], *kept[1]);
            for (int b = 0; b < blocks; ++b)
                for (int x = 0; x < width; ++x)
                    fire_column(layer, *kept[0], *kept[1], by_changes, first, last - first, b, x, drives.data());
        }
        layer.inputs += time_steps * layer.map_words();
        layer.spikes += time_steps * (height + 2 * border) * (width + 2 * border) * blocks;
    }
}
