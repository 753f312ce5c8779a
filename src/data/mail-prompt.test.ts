import assert from 'node:assert/strict';
import { test } from 'node:test';
import { excerptMail, renderMail } from './mail-prompt.ts';

const mail = (body: string, from?: string) => ({ subject: 'Hello', body, ...(from !== undefined && { from }) });

test('a mail is its subject and body, cut where asked and never within a character', () => {
  assert.equal(renderMail(mail('one two')), 'Subject: Hello\n\none two');
  assert.equal(renderMail(mail('one two'), 20), 'Subject: Hello\n\none');
  const smile = '\u{1f642}'; // two UTF-16 units
  assert.equal(renderMail(mail(`x${smile}y`), 18), 'Subject: Hello\n\nx');
  assert.equal(renderMail(mail(`x${smile}y`), 19), `Subject: Hello\n\nx${smile}`);
});

test('an excerpt is sender, subject, beginning and end; short mails are whole', () => {
  assert.equal(
    excerptMail(mail('one', ' A\n\t<a@b.c> '), { head: 200, tail: 9 }),
    'From: A <a@b.c>\nSubject: Hello\n\none',
  );
  assert.equal(excerptMail(mail('one'), { head: 200, tail: 9 }), 'From: \nSubject: Hello\n\none');
  const long = mail(`start ${'-'.repeat(500)} the end`, 'x'.repeat(100));
  const excerpt = excerptMail(long, { head: 22, tail: 7 });
  assert.equal(excerpt, `From: ${'x'.repeat(60)}\nSubject: Hello\n\nstart\n...\nthe end`);
  const pairs = mail('\u{1f642}'.repeat(100));
  for (const size of [30, 31, 32, 33]) {
    const pieces = excerptMail(pairs, { head: size, tail: size });
    assert.ok(
      !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(pieces),
      `head and tail of ${size}`,
    );
  }
});
