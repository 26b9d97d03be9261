// run: runs the browser tests with node's own runner and ends with one line that says how they went.
// Arguments are patterns of test names; without any, all tests run.

import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { readdirSync } from 'node:fs';

try {
    await import('playwright-core');
} catch {
    console.log(
        'playwright-core is missing: run `npm ci` in tests/browser\nbrowser: 0 passed, 1 failed',
    );
    process.exit(1);
}

const here = new URL('.', import.meta.url).pathname;
const files = readdirSync(here)
    .filter((f) => f.endsWith('.test.js'))
    .map((f) => here + f);
const counts = { passed: 0, failed: 0 };
const patterns = process.argv.slice(2);
const stream = run({
    files,
    concurrency: 1,
    timeout: 600000,
    testNamePatterns: patterns.length ? patterns : undefined,
});
stream.on('test:pass', (t) => {
    if (t.details.type === 'suite' || t.skip !== undefined) return;
    counts.passed += 1;
    console.log(`ok - ${t.name}`);
});
stream.on('test:fail', (t) => {
    if (t.details.type === 'suite') return;
    counts.failed += 1;
    console.log(`not ok - ${t.name}`);
});
stream.compose(new spec()).pipe(process.stdout);
stream.on('end', () => {
    // The reporter writes its summary first.
    setTimeout(() => {
        console.log(`browser: ${counts.passed} passed, ${counts.failed} failed`);
        process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
    }, 50);
});
