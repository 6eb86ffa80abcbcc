// A loop over independent items on several threads. Threads are started for each call: they cost
// microseconds where a layer costs milliseconds, and nothing is left running that would compete
// with torch's own threads or break after a fork.
#pragma once
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

template <class Work>  // work(thread, item)
void for_each_item(int64_t items, int threads, const Work& work) {
    if (threads > items) threads = (int)items;
    std::atomic<int64_t> next{0};
    auto loop = [&](int thread) {
        for (int64_t item; (item = next.fetch_add(1)) < items;) work(thread, item);
    };
    std::vector<std::thread> others;
    others.reserve(threads > 1 ? threads - 1 : 0);
    try {
        for (int thread = 1; thread < threads; ++thread) others.emplace_back(loop, thread);
    } catch (const std::system_error&) {
        // no more threads to be had: those that run do all the work
    }
    loop(0);
    for (auto& other : others) other.join();
}

template <class Body>
int guarded(const Body& body) {
    try {
        body();
        return SP_OK;
    } catch (const std::bad_alloc&) {
        return SP_OUT_OF_MEMORY;
    }
}
