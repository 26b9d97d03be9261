// signin: a server that asks for tokens. The tests make the first token of their server, which closes it.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { before, describe, test } from 'node:test';
import * as models from './models.js';
import { shot } from './setup.js';
import { check, open, page_new, server, verdict } from './steps.js';

const operator = (...args) =>
    execFileSync(server.binary, [...args, '--data', server.data], {
        stdio: ['ignore', 'pipe', 'ignore'],
    })
        .toString()
        .trim();

async function sign_in(page, token) {
    await page.fill('#token', token);
    await page.click('.signin-form button[type=submit]');
}

describe('a server with tokens', { skip: process.env.BPUHUB_BIN === 'fake' || !!process.env.BPUHUB_URL }, () => {
    let token;
    before(() => {
        token = operator('token', 'create', 'anna', '--role', 'submitter');
    });

    test('asks for one, refuses a wrong one, and then works as ever', async () => {
        const page = await page_new();
        await page.waitForSelector('#token');
        await shot(page, 'signin');
        open.allowed.push(/401/); // the browser notes what is refused
        await sign_in(page, 'bpuhub_wrong');
        await page.waitForSelector('.problem');
        assert.equal(await page.innerText('[data-field=code]'), 'unauthorized');
        await sign_in(page, token);
        await page.waitForSelector('#account .account-name');
        assert.equal(await page.innerText('.account-name'), 'anna');
        await check(page, models.legal('signed_in'));
        assert.equal(await verdict(page), 'legal');
        const cookies = await page.context().cookies();
        assert.equal(cookies.length, 1);
        assert.equal(cookies[0].httpOnly, true);
        assert.equal(cookies[0].sameSite, 'Strict');
        assert.equal(await page.evaluate(() => document.cookie), '', 'scripts see no cookie');
        const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
        assert.ok(!kept.includes(token) && !kept.includes('bpuhub_'), 'the token is kept nowhere');
    });

    test('brings back to the page that was asked for, and out again', async () => {
        const page = await page_new({ path: '/#/?view=results' });
        await page.waitForSelector('#token');
        open.allowed.push(/401/);
        await sign_in(page, token);
        await page.waitForSelector('#results');
        assert.match(page.url(), /view=results/);
        await page.click('#signout');
        await page.waitForSelector('#token');
        assert.equal((await page.context().cookies()).length, 0);
        await page.goto(`${server.url}/#/`);
        await page.reload();
        await page.waitForSelector('#token');
    });

    test('leads to no other site', async () => {
        const page = await page_new({ path: '/#/signin?next=//evil.example/' });
        await page.waitForSelector('#token');
        await sign_in(page, token);
        await page.waitForSelector('#zone');
        assert.equal(new URL(page.url()).origin, server.url);
    });

    test('sends away whose token is revoked', async () => {
        const brief = operator('token', 'create', 'ben', '--role', 'viewer');
        const page = await page_new();
        await page.waitForSelector('#token');
        await sign_in(page, brief);
        await page.waitForSelector('#account .account-name');
        const list = operator('token', 'list').split('\n');
        const number = list.find((line) => line.endsWith('ben')).trim().split(/\s+/)[0];
        operator('token', 'revoke', number);
        open.allowed.push(/401/);
        await page.waitForTimeout(300);
        await page.click('[data-nav=results]');
        await page.waitForSelector('#token');
    });
});
