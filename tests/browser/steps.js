// steps: what the tests share: one server and one browser for each file of tests, and the steps that users take.

import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';
import * as models from './models.js';
import { browser_start, page_open, server_start } from './setup.js';

export let server, browser, open;

before(async () => {
    server = await server_start();
    browser = await browser_start();
});
after(async () => {
    await browser?.close();
    await server?.stop();
});

/** Opens a page for one test; afterEach makes sure that it said nothing wrong. */
export async function page_new({ path = '', ...options } = {}) {
    open = await page_open(browser, server.url, path, options);
    open.allowed = [];
    return open.page;
}

export async function page_close() {
    if (!open) return;
    const { said, allowed } = open;
    await open.close();
    open = null;
    assert.deepEqual(
        said.filter((s) => !allowed.some((a) => a.test(s))),
        [],
        'the page must say nothing wrong',
    );
}
afterEach(page_close);

export async function choose(page, file, march = 'bayes') {
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.click('#choose')]);
    await chooser.setFiles(file);
    await page.check(`input[name=march][value=${march}]`);
}

export async function check(page, file, march) {
    await choose(page, file, march);
    await page.click('#submit');
    await page.waitForURL(/#\/jobs\//);
}

export const verdict = async (page) => {
    await page.waitForSelector('#verdict');
    return page.getAttribute('#verdict', 'data-verdict');
};
export const drawn = (page) => page.waitForSelector('#canvas > svg [id="node-0"]');
export const stat = async (page, name) =>
    Number((await page.textContent(`[data-stat=${name}] b`)).replaceAll(',', ''));
export const no_overflow = async (page, what) => {
    const [inner, scroll] = await page.evaluate(() => [
        innerWidth,
        document.documentElement.scrollWidth,
    ]);
    assert.ok(scroll <= inner, `${what}: the page is ${scroll} px wide on a screen of ${inner} px`);
};
export const view = (page) =>
    page.$eval('#canvas', (c) => ({
        k: Number(c.dataset.scale),
        x: Number(c.dataset.x),
        y: Number(c.dataset.y),
    }));

/** Whether an element lies within the canvas. */
export const in_canvas = (page, selector) =>
    page.evaluate((s) => {
        const c = document.querySelector('#canvas').getBoundingClientRect();
        const b = document.querySelector(s).getBoundingClientRect();
        return (
            b.left >= c.left - 1 &&
            b.right <= c.right + 1 &&
            b.top >= c.top - 1 &&
            b.bottom <= c.bottom + 1 &&
            b.top >= 0 &&
            b.bottom <= innerHeight
        );
    }, selector);

/** Checks of legal models, sent past the page. */
export async function post_jobs(names) {
    for (const name of names) {
        const file = models.legal(name);
        const model = await (
            await fetch(`${server.url}/v1/models?filename=${file.name}`, {
                method: 'POST',
                body: file.buffer,
                headers: { 'Content-Type': 'application/octet-stream' },
            })
        ).json();
        const made = await fetch(`${server.url}/v1/jobs`, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({
                model: model.id,
                kind: 'check',
                march: 'bayes',
                project: 'history',
            }),
        });
        assert.equal(made.status, 202);
    }
}
