from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0016_notice_guards'),
    ]

    operations = [
        migrations.AlterField(
            model_name='scheduledchange',
            name='verb',
            field=models.CharField(choices=[('change_plan', 'change_plan'), ('change_quantity', 'change_quantity'), ('change_prices', 'change_prices'), ('pause', 'pause'), ('suspend', 'suspend'), ('resume', 'resume'), ('extend_trial', 'extend_trial'), ('add_add_on', 'add_add_on'), ('change_add_on', 'change_add_on'), ('remove_add_on', 'remove_add_on'), ('renew', 'renew'), ('cancel', 'cancel')], max_length=20),
        ),
    ]
